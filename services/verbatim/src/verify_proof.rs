//! `verbatim verify-proof`: a proof, with nothing but the public key.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, anyhow};
use verbatim_proof::{Proof, Proved};

use crate::cli::VerifyProofArgs;
use crate::refusal::{amiss, bad_input};
use crate::verify;

pub fn run(args: &VerifyProofArgs) -> anyhow::Result<()> {
    let keys = verify::keys(&args.public_keys)?;
    let text =
        read(&args.file).with_context(|| args.file.display().to_string()).map_err(bad_input)?;
    let proof = Proof::parse(&text).map_err(bad_input)?;
    let proved = proof.verify(&keys).map_err(|error| {
        if error.is_malformed() {
            return bad_input(error);
        }
        amiss(anyhow!("it proves nothing: {error}"))
    })?;
    match (&proof, proved) {
        (Proof::Inclusion(proof), Proved::Inclusion { position, checkpoint }) => {
            println!(
                "proved: position {position} of {}, as of its checkpoint of {} events, is",
                checkpoint.origin, checkpoint.size
            );
            println!("{}", proof.event);
        }
        (_, Proved::Consistency { from, to }) => println!(
            "proved: the first {} events of {} are the same in its checkpoint of {} events",
            from.size, from.origin, to.size
        ),
        (Proof::Consistency(_), Proved::Inclusion { .. }) => unreachable!("it is of one kind"),
    }
    Ok(())
}

fn read(file: &Path) -> io::Result<String> {
    if file != Path::new("-") {
        return fs::read_to_string(file);
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    Ok(text)
}
