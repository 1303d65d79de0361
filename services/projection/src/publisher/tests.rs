use std::fs;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use verbatim_proof::{Checkpoint, notes};

use super::*;
use crate::sealer::tests::Place;

const PATIENCE: Duration = Duration::from_secs(20);

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "waited in vain until {what}");
}

/// Of every checkpoint that was handed out; each is signed, or a zero stands for it.
fn sizes(place: &Place, text: &str) -> Vec<u64> {
    let keys = [place.sealing.signer.verifier().clone()];
    notes(text).map(|note| Checkpoint::open(&keys, note).map_or(0, |it| it.size)).collect()
}

async fn place() -> Place {
    Place::new(1, Duration::from_hours(1)).await
}

impl Place {
    async fn seal_one(&self) {
        let head = self.append(1).await;
        self.until_sealed(head).await;
    }

    fn publish(&self, destination: &Destination) -> CancellationToken {
        let stop = CancellationToken::new();
        let (sealing, metrics) = (self.sealing.clone(), self.metrics.clone());
        tokio::spawn(run(sealing, destination.clone(), metrics, stop.clone()));
        stop
    }
}

#[tokio::test]
async fn a_file_gets_every_checkpoint_from_the_newest_on_over_several_lives() {
    let place = place().await;
    let (_stop, _sealing) = place.start();
    place.seal_one().await;
    place.seal_one().await;
    let path = place.folder.path().join("checkpoints");
    let destination = Destination::File(path.clone());
    let read = || fs::read_to_string(&path).unwrap_or_default();
    for expected in [vec![2], vec![2, 3], vec![2, 3, 4]] {
        let stop = place.publish(&destination);
        until("it is handed out", || sizes(&place, &read()) == expected).await;
        let taken = place.metrics.published.get();
        until("it is noted", || place.metrics.published.get() == expected.len() as u64).await;
        assert!(taken <= expected.len() as u64);
        stop.cancel();
        place.seal_one().await;
    }
    // What a crash or a full disk has cut off is cut away, and what is whole stays.
    let whole = read();
    fs::write(&path, format!("{whole}log\n5\nAAAA")).expect("written");
    let stop = place.publish(&destination);
    until("it goes on", || sizes(&place, &read()) == [2, 3, 4, 5]).await;
    assert!(read().starts_with(&whole));
    stop.cancel();
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    for text in ["something else", "a\n\nb\n\n", "\n\n", "a\n\n— x y\nand more, \u{fffd}"] {
        let bytes = text.replace('\u{fffd}', "").into_bytes();
        let bytes = if text.contains('\u{fffd}') { [bytes, vec![0xff]].concat() } else { bytes };
        fs::write(&path, &bytes).expect("written");
        file::append(&path, "log\n1\nx\n\n— log y\n").expect_err("it holds something else");
        assert_eq!(fs::read(&path).expect("it is there"), bytes);
    }
    file::append(folder.path(), "note\n").expect_err("a folder is no file");
}

/// Answers each request with the next status, the last one for ever; gives what was posted.
async fn listen(statuses: &'static [u16]) -> (Destination, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let posted = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&posted);
    tokio::spawn(async move {
        let mut count = 0;
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"=\n") {
                if stream.read_buf(&mut request).await.expect("a request") == 0 {
                    break;
                }
            }
            let request = String::from_utf8(request).expect("text");
            let status = statuses[count.min(statuses.len() - 1)];
            count += 1;
            heard.lock().expect("no panic").push(request);
            let answer =
                format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("answered");
        }
    });
    let url = format!("http://{address}/checkpoints?secret=1").parse().expect("a URL");
    (Destination::Url(url), posted)
}

#[tokio::test]
async fn a_url_gets_every_checkpoint_in_order_however_often_it_fails() {
    let place = place().await;
    let (_stop, _sealing) = place.start();
    place.seal_one().await;
    let (destination, posted) = listen(&[500, 302, 404, 200, 503, 204]).await;
    let _publishing = place.publish(&destination);
    until("the first is taken", || place.metrics.published.get() == 1).await;
    place.seal_one().await;
    until("the second is taken", || place.metrics.published.get() == 2).await;
    let posted = posted.lock().expect("no panic");
    assert_eq!(posted.len(), 6);
    for (request, size) in posted.iter().zip([1, 1, 1, 1, 2, 2]) {
        let (head, body) = request.split_once("\r\n\r\n").expect("a body");
        assert!(head.starts_with("POST /checkpoints?secret=1 HTTP/1.1"), "{head}");
        assert_eq!(sizes(&place, body), [size]);
    }
}

#[tokio::test]
async fn a_destination_that_never_answers_holds_nothing_up() {
    let place = place().await;
    let url = "http://127.0.0.1:1/none".parse().expect("a URL");
    let stop = place.publish(&Destination::Url(url));
    let (_stop, _sealing) = place.start();
    for _ in 0..5 {
        place.seal_one().await;
    }
    assert_eq!(place.metrics.published.get(), 0);
    stop.cancel();
}
