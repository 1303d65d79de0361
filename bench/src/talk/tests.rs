use std::path::Path;

use clap::Parser;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use super::*;
use crate::relay::{self, Fault};

const SECRET: &str = "a secret";

/// What a short talk beside a server with such a fault comes to.
fn talk_to(fault: Option<Fault>, plan: &Plan) -> (Outcome, Vec<Window>) {
    talk_to_one(None, fault, plan)
}

fn talk_to_one(store: Option<&Path>, fault: Option<Fault>, plan: &Plan) -> (Outcome, Vec<Window>) {
    let server = Runtime::new().expect("a runtime");
    let listener = server.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let store = store.map(Path::to_owned);
    server.spawn(async move { relay::serve(listener, SECRET, store.as_deref(), fault).await });
    let target =
        Target { servers: vec![address], secret: SECRET.to_owned(), processes: Vec::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let mut talk = Talk::begin(&target, plan).await.expect("it begins");
        talk.measure(pause(Duration::from_millis(300))).await.expect("it goes on");
        talk.end().await.expect("it ends")
    })
}

fn plan() -> Plan {
    Plan { cast: Cast::new(2), drain: 0.5, ..Plan::default() }
}

#[test]
fn a_server_without_fault_is_found_to_have_none() {
    for plan in [plan(), Plan { rate: Some(1_000.0), ..plan() }, Plan { group: Some(5), ..plan() }]
    {
        let (outcome, windows) = talk_to(None, &plan);
        let Outcome { sent, .. } = outcome;
        assert!(sent > 100, "{plan:?}: {sent}");
        let faultless = Outcome {
            sent,
            refused: 0,
            unanswered: 0,
            lost: 0,
            duplicated: 0,
            out_of_order: 0,
            disagreeing: 0,
        };
        assert_eq!(outcome, faultless, "{plan:?}");
        let window = &windows[0];
        assert!(window.to_receipt.len() > 100 && window.to_ack.len() > 100, "{plan:?}");
    }
}

#[test]
fn a_relay_that_stores_has_each_message_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("relay.sqlite");
    let (outcome, _) = talk_to_one(Some(&path), None, &plan());
    assert_eq!((outcome.lost, outcome.unanswered, outcome.out_of_order), (0, 0, 0), "{outcome:?}");
    let connection = rusqlite::Connection::open(&path).expect("a file");
    let rows = connection.query_row("select count(*) from events", [], |row| row.get::<_, u64>(0));
    assert_eq!(rows.expect("a count"), outcome.sent);
}

#[test]
fn each_fault_of_a_server_is_found() {
    for plan in [plan(), Plan { group: Some(5), ..plan() }] {
        let found = |fault| talk_to(Some(fault), &plan).0;
        assert!(found(Fault::Lose).lost > 0);
        assert!(found(Fault::Repeat).duplicated > 0);
        assert!(found(Fault::Swap).out_of_order > 0);
        assert!(found(Fault::Refuse).refused > 0);
        assert!(found(Fault::Ignore).unanswered > 0);
    }
    let group = talk_to(Some(Fault::Scatter), &Plan { group: Some(6), ..plan() }).0;
    assert!((1..6).contains(&group.disagreeing), "{group:?}");
}

#[test]
fn an_open_loop_counts_the_wait_of_all_that_were_due_while_the_server_stalled() {
    // The server stalls for half of the time: 50 ms after each hundred messages, which last 100 ms.
    let stalled = |plan| talk_to(Some(Fault::Stall), &plan).1.remove(0).to_receipt;
    let one = || Plan { cast: Cast::new(1), ..plan() };
    let open = stalled(Plan { rate: Some(1_000.0), ..one() });
    assert!(open.value_at_quantile(0.8) > 10_000, "{open:?}");
    // A closed loop waits with it, and so meets one stall in a hundred messages.
    let closed = stalled(Plan { in_flight: 1, ..one() });
    assert!(closed.value_at_quantile(0.8) < 10_000, "{closed:?}");
}

#[test]
fn what_is_not_answered_is_told_of_for_reads_too() {
    // The relay knows of no reads.
    let (outcome, _) = talk_to(None, &Plan { reads: 0.5, rate: Some(500.0), ..plan() });
    let half = outcome.sent / 2;
    assert!(outcome.unanswered.abs_diff(half) <= 2, "{outcome:?}");
    assert_eq!(outcome.lost, 0);
}

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let parse = |arguments: &[&str]| {
        let server = ["talk", "--server", "host:1"];
        Cli::try_parse_from(server.iter().chain(arguments)).map(|cli| cli.args.plan)
    };
    assert!(parse(&[]).is_ok());
    for bad in [
        &["--pairs", "0"][..],
        &["--pairs", "-1"],
        &["--conversations", "0"],
        &["--conversations", "x"],
        &["--group", "0"],
        &["--group", "5", "--conversations", "5"],
        &["--in-flight", "0"],
        &["--rate", "0"],
        &["--rate", "-1"],
        &["--rate", "NaN"],
        &["--rate", "inf"],
        &["--reads", "-0.5"],
        &["--reads", "NaN"],
        &["--bytes", "many"],
        &["--seconds", "0"],
        &["--warm-up", "-1"],
        &["--drain", "-1"],
        &["--drain", "inf"],
    ] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
}
