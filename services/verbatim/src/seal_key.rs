//! `verbatim seal-key`: the public key, for those who are to rely on it.

use anyhow::{Context, anyhow};
use secrecy::SecretString;

use crate::admin::runtime;
use crate::cli::SealKeyArgs;
use crate::data::DataFolder;
use crate::refusal::{bad_input, bad_store};
use crate::settings::{seal_key, signer_of};
use crate::source;

pub fn run(args: &SealKeyArgs) -> anyhow::Result<()> {
    let given = seal_key(&args.key).map_err(bad_input)?;
    runtime()?.block_on(async {
        let log = source::open_stored(&args.store).await?;
        let pem = match given {
            Some(pem) => pem,
            None => own(args)?,
        };
        let signer = signer_of(&*log, args.key.seal_origin.as_deref(), &pem).map_err(bad_input)?;
        println!("{}", signer.verifier());
        Ok(())
    })
}

/// The key that the server has made in the data folder.
fn own(args: &SealKeyArgs) -> anyhow::Result<SecretString> {
    if args.store.database_url.is_some() {
        return Err(bad_input(anyhow!("SEAL_KEY_FILE: must name the key that the cluster has")));
    }
    let path = DataFolder::existing(&args.store.data.data_dir)?.seal_key();
    let pem = std::fs::read_to_string(&path).with_context(|| {
        format!("no key was made there yet, and SEAL_KEY_FILE names none: {}", path.display())
    });
    pem.map(Into::into).map_err(bad_store)
}
