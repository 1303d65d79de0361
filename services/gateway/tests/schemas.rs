//! The checked-in documents are what the types say.

use std::path::PathBuf;

/// Compares a generated document with the checked-in one; `UPDATE_SCHEMAS=1` writes it anew.
fn check(name: &str, generated: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../schemas").join(name);
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        std::fs::write(&path, generated).expect("the file is written");
        return;
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == generated,
        "schemas/{name} differs from the types. If the types are right, run \
         `UPDATE_SCHEMAS=1 cargo test --workspace --test schemas` and commit what it writes."
    );
}

#[test]
fn the_openapi_document_is_the_checked_in_one() {
    check("openapi.json", &verbatim_gateway::rest::openapi());
}

#[test]
fn the_asyncapi_document_is_the_checked_in_one() {
    check("asyncapi.json", &verbatim_gateway::rest::asyncapi());
}
