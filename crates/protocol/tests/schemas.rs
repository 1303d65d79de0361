//! What `verbatim import` reads has its JSON Schema in `schemas/`, and it is what the type says.

use std::path::Path;

use schemars::generate::SchemaSettings;
use verbatim_protocol::import::Line;

#[test]
fn the_lines_of_an_import_have_their_schema() {
    let settings = SchemaSettings::draft2020_12().for_deserialize();
    let schema = settings.into_generator().into_root_schema_for::<Line>();
    let generated = format!("{:#}\n", schema.as_value());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/import.json");
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&path, &generated).expect("the file is written");
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        generated,
        "if the types are right, run `UPDATE_SCHEMAS=1 cargo test --workspace --test schemas`"
    );
}
