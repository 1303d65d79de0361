//! Each way to take back what is published, tried on a copy of `schemas/`: it is refused.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::folder;
use crate::published::{Code, faults, files, sha256};

/// A copy of the events' schemas and examples, all of them published.
struct Copy {
    folder: TempDir,
    code: Code,
}

impl Copy {
    fn new() -> Self {
        let copy = tempfile::tempdir().expect("a folder");
        let mut list = Vec::new();
        let mut take = |file: String| {
            let bytes = fs::read(folder().join(&file)).expect("it is there");
            let to = copy.path().join(&file);
            fs::create_dir_all(to.parent().expect("a folder")).expect("it is made");
            fs::write(to, &bytes).expect("it is written");
            list.push(format!("{}  {file}\n", sha256(&bytes)));
        };
        for schema in files(&folder().join("events")) {
            take(format!("events/{schema}"));
        }
        for name in files(&folder().join("examples")) {
            for example in files(&folder().join("examples").join(&name)) {
                take(format!("examples/{name}/{example}"));
            }
        }
        let lines = list.len();
        let list = list.concat();
        fs::write(copy.path().join("published.sha256"), &list).expect("it is written");
        let publications = vec![(lines, sha256(list.as_bytes()))];
        let code = Code { publications, is_released: true, ..Code::of_today() };
        Self { folder: copy, code }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn edit(&self, file: &str, edit: impl FnOnce(String) -> String) {
        let path = self.path().join(file);
        fs::write(&path, edit(fs::read_to_string(&path).expect("it is there")))
            .expect("it is written");
    }

    /// What is said of it, which is about one thing alone.
    #[track_caller]
    fn refusal(&self) -> String {
        let mut faults = faults(self.path(), &self.code);
        assert_eq!(faults.len(), 1, "{faults:#?}");
        faults.remove(0)
    }
}

const SCHEMA: &str = "events/MemberJoined.v1.json";
const EXAMPLES: &str = "examples/MemberJoined.v1";

fn example(copy: &Copy) -> String {
    format!("{EXAMPLES}/{}", files(&copy.path().join(EXAMPLES))[0])
}

#[test]
fn what_is_published_whole_is_in_order() {
    let copy = Copy::new();
    assert_eq!(faults(copy.path(), &copy.code), Vec::<String>::new());
}

#[test]
fn a_published_schema_that_was_changed_is_refused() {
    let copy = Copy::new();
    copy.edit(SCHEMA, |schema| schema.replace("memberId", "member"));
    assert!(copy.refusal().contains("events/MemberJoined.v1.json is published and was changed"));
}

#[test]
fn a_published_example_that_was_changed_or_removed_is_refused() {
    let copy = Copy::new();
    let example = example(&copy);
    copy.edit(&example, |payload| payload.replace('"', " \""));
    assert!(copy.refusal().contains("is published and was changed: restore it"));
    fs::remove_file(copy.path().join(example)).expect("it is removed");
    let faults = faults(copy.path(), &copy.code);
    assert!(faults[0].contains("is published and was removed: restore it"), "{faults:?}");
}

#[test]
fn a_published_version_that_nothing_reads_is_refused() {
    let mut copy = Copy::new();
    copy.code.versions.remove("MemberJoined");
    let refusal = copy.refusal();
    assert!(
        refusal.contains("MemberJoined.v1 is published, so logs hold it, but nothing reads it")
    );
    // Its files may not go with it.
    fs::remove_file(copy.path().join(SCHEMA)).expect("it is removed");
    let faults = faults(copy.path(), &copy.code);
    assert!(faults.iter().any(|fault| fault.contains("and was removed")), "{faults:?}");
}

#[test]
fn a_new_version_without_an_upcaster_from_the_last_is_refused() {
    let mut copy = Copy::new();
    copy.code.is_released = false;
    copy.code.versions.insert("MemberJoined".to_owned(), vec!["2".to_owned()]);
    let faults = faults(copy.path(), &copy.code);
    assert!(faults[0].contains("MemberJoined.v1 is published"), "{faults:?}");
    assert!(faults[0].contains("with the step that leads to the next one"), "{faults:?}");
    assert!(faults[1].contains("number them 1, 2, 3"), "{faults:?}");
}

#[test]
fn a_new_version_needs_a_schema_and_an_example_and_is_published_with_its_release() {
    let mut copy = Copy::new();
    copy.code.is_released = false;
    copy.code.versions.insert("MemberJoined".to_owned(), vec!["1".to_owned(), "2".to_owned()]);
    let missing = faults(copy.path(), &copy.code);
    assert_eq!(missing.len(), 2, "{missing:?}");
    assert!(missing[0].contains("MemberJoined.v2 has no schema"), "{missing:?}");
    assert!(missing[1].contains("MemberJoined.v2 has no example"), "{missing:?}");

    let examples = copy.path().join("examples/MemberJoined.v2");
    fs::create_dir(&examples).expect("it is made");
    fs::write(examples.join("a.json"), "{}\n").expect("it is written");
    fs::copy(copy.path().join(SCHEMA), copy.path().join("events/MemberJoined.v2.json"))
        .expect("it is copied");
    assert_eq!(faults(copy.path(), &copy.code), Vec::<String>::new(), "not before a release");
    copy.code.is_released = true;
    assert!(copy.refusal().contains("MemberJoined.v2 is not published, but the changelog"));
}

#[test]
fn an_example_that_joins_a_published_version_has_to_be_published() {
    let copy = Copy::new();
    fs::write(copy.path().join(EXAMPLES).join("more.json"), "{}\n").expect("it is written");
    assert!(copy.refusal().contains("MemberJoined.v1/more.json is of a published version"));
}

#[test]
fn a_list_that_was_edited_is_refused() {
    let copy = Copy::new();
    copy.edit(SCHEMA, |schema| schema.replace("memberId", "member"));
    let changed = sha256(&fs::read(copy.path().join(SCHEMA)).expect("it is there"));
    copy.edit("published.sha256", |list| {
        let line = list.lines().find(|line| line.ends_with(SCHEMA)).expect("it is listed");
        list.replace(line, &format!("{changed}  {SCHEMA}"))
    });
    assert!(copy.refusal().contains("lines of schemas/published.sha256 have changed"));
    fs::remove_file(copy.path().join("published.sha256")).expect("it is removed");
    let faults = faults(copy.path(), &copy.code);
    assert!(faults[0].contains("lines of schemas/published.sha256 have changed"), "{faults:?}");
}

#[test]
fn a_list_that_grew_says_what_to_add_to_the_publications() {
    let mut copy = Copy::new();
    fs::write(copy.path().join(EXAMPLES).join("more.json"), "{}\n").expect("it is written");
    let line = format!("{}  {EXAMPLES}/more.json\n", sha256(b"{}\n"));
    copy.edit("published.sha256", |list| list + &line);
    assert!(copy.refusal().contains("to PUBLICATIONS"));
    let list = fs::read_to_string(copy.path().join("published.sha256")).expect("it is there");
    copy.code.publications.push((list.lines().count(), sha256(list.as_bytes())));
    assert_eq!(faults(copy.path(), &copy.code), Vec::<String>::new());
    copy.edit("published.sha256", |list| list + &line);
    assert!(faults(copy.path(), &copy.code).iter().any(|fault| fault.contains("a file twice")));
}

#[test]
fn files_of_no_event_are_refused() {
    let copy = Copy::new();
    fs::write(copy.path().join("events/Member.v1.json"), "{}\n").expect("it is written");
    assert!(copy.refusal().contains("files of Member.v1, which is no version of an event"));
}
