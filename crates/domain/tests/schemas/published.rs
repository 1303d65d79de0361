//! What is published: `schemas/published.sha256` lists the schemas and examples of every version of
//! every event that a release has had, in the form that `sha256sum` checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use verbatim_domain::Event;

/// Each publication: how many lines the list had then, and their SHA-256. The list only grows, and
/// so does this. Whoever changes an earlier entry of either takes a promise back.
const PUBLICATIONS: &[(usize, &str)] =
    &[(28, "1b866438ac77629473c1432eab03c815bbb4725badf7c365d36058860c7185de")];

/// What the code says of the events.
#[derive(Clone)]
pub struct Code {
    /// Each type with its versions, the oldest first.
    pub versions: BTreeMap<String, Vec<String>>,
    pub publications: Vec<(usize, String)>,
    /// Whether the changelog begins with a release: nothing may be unpublished then.
    pub is_released: bool,
}

impl Code {
    pub fn of_today() -> Self {
        let changelog = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../CHANGELOG.md");
        let changelog = fs::read_to_string(changelog).expect("the changelog is there");
        let newest = changelog.lines().find(|line| line.starts_with("## "));
        let versions = Event::TYPES.iter().map(|(name, versions)| {
            ((*name).to_owned(), versions.iter().map(|version| (*version).to_owned()).collect())
        });
        Self {
            versions: versions.collect(),
            publications: PUBLICATIONS.iter().map(|(n, hash)| (*n, (*hash).to_owned())).collect(),
            is_released: newest != Some("## Unreleased"),
        }
    }

    /// Each version, as its files are called.
    fn names(&self) -> BTreeSet<String> {
        let names = |(name, versions): (&String, &Vec<String>)| {
            versions.iter().map(|version| format!("{name}.v{version}")).collect::<Vec<_>>()
        };
        self.versions.iter().flat_map(names).collect()
    }
}

/// The files of a folder, by name.
pub fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry.expect("an entry").file_name().into_string().expect("a name")
    };
    let mut files: Vec<_> = entries.map(name).collect();
    files.sort_unstable();
    files
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Whether the checked-in list has a file.
pub fn is_published(file: &str) -> bool {
    let list = fs::read_to_string(crate::folder().join("published.sha256")).unwrap_or_default();
    list.lines().any(|line| line.split_once("  ").is_some_and(|(_, listed)| listed == file))
}

/// What is wrong with the events' schemas and examples, and what to do about it; nothing, if all is
/// well.
pub fn faults(folder: &Path, code: &Code) -> Vec<String> {
    let list = fs::read_to_string(folder.join("published.sha256")).unwrap_or_default();
    let published: BTreeMap<&str, &str> = list
        .lines()
        .filter_map(|line| line.split_once("  ").map(|(hash, file)| (file, hash)))
        .collect();
    let mut faults = Vec::new();
    faults.extend(list_faults(&list, &code.publications));
    faults.extend(file_faults(folder, &published));
    faults.extend(version_faults(folder, &published, code));
    faults
}

/// Whether the list is the one that was published, and says nothing twice.
fn list_faults(list: &str, publications: &[(usize, String)]) -> Vec<String> {
    let lines: Vec<_> = list.split_inclusive('\n').collect();
    let mut faults = Vec::new();
    for (known, hash) in publications {
        if lines.get(..*known).is_none_or(|lines| sha256(lines.concat().as_bytes()) != *hash) {
            faults.push(format!(
                "the first {known} lines of schemas/published.sha256 have changed: what is published \
                 stays; restore them, and add what is new at the end"
            ));
        }
    }
    let known = publications.last().map_or(0, |(known, _)| *known);
    if lines.len() > known {
        faults.push(format!(
            "schemas/published.sha256 has {} lines, {known} of them known: if the rest is what a \
             release publishes, add ({}, \"{}\") to PUBLICATIONS",
            lines.len(),
            lines.len(),
            sha256(list.as_bytes())
        ));
    }
    let files: BTreeSet<_> = lines.iter().filter_map(|line| line.split_once("  ")).collect();
    let names: BTreeSet<_> = files.iter().map(|(_, file)| file).collect();
    if names.len() < lines.len() {
        faults.push("schemas/published.sha256 names a file twice, or none in some line".to_owned());
    }
    faults
}

/// Whether each published file is what it was.
fn file_faults(folder: &Path, published: &BTreeMap<&str, &str>) -> Vec<String> {
    let mut faults = Vec::new();
    for (file, hash) in published {
        let what = match fs::read(folder.join(file)) {
            Ok(bytes) if sha256(&bytes) == **hash => continue,
            Ok(_) => "was changed",
            Err(_) => "was removed",
        };
        faults.push(format!(
            "schemas/{file} is published and {what}: restore it. An event that has to differ gets \
             another version (schemas/README.md)"
        ));
    }
    faults
}

/// Whether each version can be read, has a schema and an example, and is published with all of it.
fn version_faults(folder: &Path, published: &BTreeMap<&str, &str>, code: &Code) -> Vec<String> {
    let mut faults = Vec::new();
    let names = code.names();
    let version_of = |file: &str| {
        file.strip_prefix("events/").and_then(|file| file.strip_suffix(".json")).map(str::to_owned)
    };
    let published_versions: BTreeSet<_> =
        published.keys().filter_map(|file| version_of(file)).collect();
    for name in published_versions.difference(&names) {
        faults.push(format!(
            "{name} is published, so logs hold it, but nothing reads it: name the version in `events!` \
             (crates/domain/src/event.rs), with the step that leads to the next one"
        ));
    }
    for (name, versions) in &code.versions {
        if !versions
            .iter()
            .map(String::as_str)
            .eq((1..=versions.len()).map(|n| n.to_string()).collect::<Vec<_>>())
        {
            faults.push(format!("the versions of {name} are {versions:?}: number them 1, 2, 3 …"));
        }
    }
    for name in &names {
        let examples = files(&folder.join("examples").join(name));
        if !folder.join(format!("events/{name}.json")).exists() {
            faults.push(format!(
                "{name} has no schema: run `UPDATE_SCHEMAS=1 cargo test --workspace --test schemas`; of \
                 a version that isn't the newest, restore schemas/events/{name}.json"
            ));
        }
        if examples.is_empty() {
            faults.push(format!(
                "{name} has no example: put payloads as they are stored into schemas/examples/{name}/"
            ));
        }
        let is_published = published_versions.contains(name);
        if code.is_released && !is_published {
            faults.push(format!(
                "{name} is not published, but the changelog tells of a release: publish it \
                 (schemas/README.md)"
            ));
        }
        for example in examples.iter().map(|example| format!("examples/{name}/{example}")) {
            if is_published && !published.contains_key(&*example) {
                faults.push(format!(
                    "schemas/{example} is of a published version, but not published: add it to \
                     schemas/published.sha256 (schemas/README.md)"
                ));
            }
        }
    }
    let schemas = files(&folder.join("events"));
    let schemas = schemas.iter().map(|file| file.trim_end_matches(".json").to_owned());
    let examples = files(&folder.join("examples"));
    for name in schemas.chain(examples).collect::<BTreeSet<_>>().difference(&names) {
        if !published_versions.contains(name) {
            faults.push(format!("schemas/ has files of {name}, which is no version of an event"));
        }
    }
    faults
}
