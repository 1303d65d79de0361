//! The migrations are compiled in: compile again when they change.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations/sqlite/state");
    println!("cargo:rerun-if-changed=../../migrations/postgres/state");
}
