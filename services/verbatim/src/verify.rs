//! `verbatim verify`: the log, held against everything that was sealed of it.

use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow};
use verbatim_proof::{Checkpoint, CheckpointError, NoteError, Verifier, notes};
use verbatim_seal::{Error, Evidence, Outside, Sound, Store, Verdict};

use crate::admin::runtime;
use crate::cli::VerifyArgs;
use crate::progress::Progress;
use crate::refusal::{amiss, bad_input, bad_store};
use crate::source;

pub fn run(args: &VerifyArgs) -> anyhow::Result<()> {
    let given = keys(&args.public_keys)?;
    runtime()?.block_on(async {
        let (rows, store) = source::open_sealed(&args.store).await?;
        let store = store.as_deref();
        let verifiers = match store {
            Some(store) if given.is_empty() => named(store, rows.id()).await?,
            _ => given.clone(),
        };
        if verifiers.is_empty() && args.checkpoints.is_some() {
            return Err(bad_input(anyhow!(
                "--checkpoints: nothing was sealed there, so --public-key must say whose they are"
            )));
        }
        let outside = match &args.checkpoints {
            Some(file) => outside(file, &verifiers)?,
            None => Vec::new(),
        };
        let latest = match store {
            Some(store) => store.latest(rows.id()).await?,
            None => None,
        };
        if latest.is_none() && outside.is_empty() {
            return Err(bad_store(anyhow!(
                "nothing was sealed there, and no checkpoint was given: there is nothing to hold the \
                 log against"
            )));
        }
        let progress = Progress::default();
        let evidence = Evidence { store, verifiers, outside };
        let verdict =
            verbatim_seal::verify(&*rows, evidence, |done, of| progress.show(done, of)).await?;
        drop(progress);
        match verdict {
            Verdict::Sound(sound) => {
                tell(&sound, given.is_empty());
                Ok(())
            }
            Verdict::Tampered(finding) => {
                println!("{finding}");
                Err(amiss(anyhow!("the log is not what was sealed")))
            }
        }
    })
}

/// The keys that were given on the command line.
pub fn keys(texts: &[String]) -> anyhow::Result<Vec<Verifier>> {
    let keys = texts.iter().map(|text| text.parse::<Verifier>());
    keys.collect::<Result<_, _>>().context("--public-key").map_err(bad_input)
}

/// The keys that the store names; those that are none are found later.
async fn named(
    store: &dyn Store,
    log: verbatim_protocol::JournalId,
) -> Result<Vec<Verifier>, Error> {
    let named = store.verifiers(log).await?;
    Ok(named.iter().filter_map(|key| key.parse().ok()).collect())
}

/// The checkpoints in a file that one of the keys has signed. Those of other logs and keys are passed
/// over, as a file may have been written to for several, but not all of them.
fn outside(file: &Path, keys: &[Verifier]) -> anyhow::Result<Vec<Outside>> {
    let what = || format!("--checkpoints: {}", file.display());
    let text = fs::read_to_string(file).with_context(what).map_err(bad_input)?;
    let (mut ours, mut others) = (Vec::new(), None);
    for (note, number) in notes(&text).zip(1..) {
        match Checkpoint::open(keys, note) {
            Ok(checkpoint) => ours.push(checkpoint.into()),
            Err(other @ CheckpointError::Note(NoteError::OtherKey(_))) => others = Some(other),
            Err(error) => {
                let error = anyhow!(error).context(format!("checkpoint number {number}"));
                return Err(bad_input(error.context(what())));
            }
        }
    }
    match others {
        _ if !ours.is_empty() => Ok(ours),
        Some(other) => {
            let error = anyhow!(other).context("there is none of this log");
            Err(bad_input(error.context(what())))
        }
        None => Err(bad_input(anyhow!("{}: there is none", what()))),
    }
}

fn tell(sound: &Sound, keys_are_the_stores: bool) {
    let Sound { events, sealed, checkpoints, outside, root } = sound;
    let elsewhere = match outside {
        0 => String::new(),
        n => format!(", and {n} that were kept elsewhere"),
    };
    println!(
        "verified: the first {sealed} events are what was sealed, by {checkpoints} checkpoints{elsewhere}"
    );
    if sealed < events {
        println!("not sealed yet: positions {} to {events}", sealed + 1);
    }
    println!("root of all {events}: {root}");
    if keys_are_the_stores {
        eprintln!(
            "the keys are those that the store names: give --public-key to rely on one that was kept \
             elsewhere"
        );
    }
}
