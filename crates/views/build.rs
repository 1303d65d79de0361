//! The schema is compiled in: compile again when it changes.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations/sqlite/views");
}
