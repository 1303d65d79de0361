//! Files in the making, which get their names once they are whole.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, anyhow};
use sha2::{Digest, Sha256};

use super::manifest::{FileEntry, Manifest};
use super::{Encoding, Writer};
use crate::cli::ExportArgs;
use crate::refusal::bad_input;

const BUFFER_BYTES: usize = 256 * 1024;

/// Bytes from one flush to the next, at least.
const FLUSH_BYTES: u64 = 32 * 1024 * 1024;

/// Where an export is to be.
pub struct Target {
    out: PathBuf,
    layout: Layout,
}

enum Layout {
    /// One file, with its manifest beside it.
    File,
    /// A folder with the manifest in it, and a file for every so many events.
    Folder { events_per_file: u64 },
}

impl Target {
    /// A name that ends as files of the format do is a file's, any other one a folder's.
    ///
    /// # Errors
    /// Something has the name already, or that of the export in the making.
    pub fn new(args: &ExportArgs) -> anyhow::Result<Self> {
        let out = std::path::absolute(&args.out)?;
        let is_file = out.extension().is_some_and(|end| end == args.format.extension());
        let layout = match args.events_per_file {
            Some(_) if is_file => {
                return Err(bad_input(anyhow!(
                    "--events-per-file: needs a folder, but --out {} is a file",
                    args.out.display()
                )));
            }
            _ if is_file => Layout::File,
            given => Layout::Folder { events_per_file: given.map_or(u64::MAX, u64::from) },
        };
        let target = Self { out, layout };
        for path in target.names() {
            if path.try_exists()? {
                return Err(bad_input(anyhow!("--out: {} exists", path.display())));
            }
            let partial = partial(&path);
            if partial.try_exists()? {
                return Err(bad_input(anyhow!(
                    "--out: {} exists: another export is under way, or was broken off; then remove it",
                    partial.display()
                )));
            }
        }
        Ok(target)
    }

    /// What is renamed at the end, in this order.
    fn names(&self) -> Vec<PathBuf> {
        match self.layout {
            Layout::File => vec![self.out.clone(), with(&self.out, ".manifest.json")],
            Layout::Folder { .. } => vec![self.out.clone()],
        }
    }
}

/// The files of an export in the making.
pub struct Files<E: Encoding> {
    target: Target,
    manifest: Manifest,
    encoding: Arc<E>,
    open: Open<E::Writer>,
}

struct Open<W> {
    name: String,
    from: u64,
    events: u64,
    writer: W,
}

impl<E: Encoding> Files<E> {
    /// Begins the first file.
    pub fn create(target: Target, manifest: Manifest, encoding: Arc<E>) -> anyhow::Result<Self> {
        if let Layout::Folder { .. } = target.layout {
            let folder = partial(&target.out);
            DirBuilder::new()
                .mode(0o700)
                .create(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let open = begin(&target, &manifest, &*encoding, manifest.from)?;
        Ok(Self { target, manifest, encoding, open })
    }

    /// Writes the event at a position.
    pub fn write(&mut self, position: u64, encoded: E::Encoded) -> anyhow::Result<()> {
        if let Layout::Folder { events_per_file } = self.target.layout
            && self.open.events == events_per_file
        {
            let next = begin(&self.target, &self.manifest, &*self.encoding, position)?;
            self.end(position - 1, next)?;
        }
        self.open.writer.write(encoded)?;
        self.open.events += 1;
        Ok(())
    }

    /// Ends the file that is open, which reaches to position `to`.
    fn end(&mut self, to: u64, next: Open<E::Writer>) -> anyhow::Result<()> {
        let ended = std::mem::replace(&mut self.open, next);
        self.manifest.events += ended.events;
        let entry = close::<E>(ended, to)?;
        self.manifest.files.push(entry);
        Ok(())
    }

    /// Waits for the disk, writes the manifest, and gives everything its name; gives the number of
    /// events.
    pub fn finish(self) -> anyhow::Result<u64> {
        let Self { target, mut manifest, open, .. } = self;
        manifest.events += open.events;
        manifest.files.push(close::<E>(open, manifest.to)?);
        let path = match target.layout {
            Layout::File => partial(&with(&target.out, ".manifest.json")),
            Layout::Folder { .. } => partial(&target.out).join("manifest.json"),
        };
        let mut file = create(&path)?;
        let written = serde_json::to_vec_pretty(&manifest)?;
        file.write_all(&written)
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.sync_all())
            .with_context(|| format!("cannot write {}", path.display()))?;
        if let Layout::Folder { .. } = target.layout {
            File::open(partial(&target.out))?.sync_all()?;
        }
        for name in target.names() {
            give_name(&partial(&name), &name)
                .with_context(|| format!("cannot rename {}", partial(&name).display()))?;
        }
        if let Some(parent) = target.out.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(manifest.events)
    }
}

fn begin<E: Encoding>(
    target: &Target,
    manifest: &Manifest,
    encoding: &E,
    from: u64,
) -> anyhow::Result<Open<E::Writer>> {
    let extension = manifest.format.extension();
    let (name, path) = match target.layout {
        Layout::File => {
            let name = target.out.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, partial(&target.out))
        }
        Layout::Folder { .. } => {
            let name = format!("events-{from:012}.{extension}");
            let path = partial(&target.out).join(&name);
            (name, path)
        }
    };
    let sink = Sink::new(create(&path)?);
    Ok(Open { name, from, events: 0, writer: encoding.begin(sink)? })
}

fn close<E: Encoding>(open: Open<E::Writer>, to: u64) -> anyhow::Result<FileEntry> {
    let Open { name, from, events, writer } = open;
    let (bytes, sha256) =
        writer.finish().and_then(Sink::finish).with_context(|| format!("cannot write {name}"))?;
    Ok(FileEntry { name, from, to, events, bytes, sha256 })
}

/// Makes a file for its owner alone: it holds what people wrote.
fn create(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))
}

/// Renames what is finished. A file that has come there meanwhile is not replaced, as far as the file
/// system can do that.
fn give_name(finished: &Path, name: &Path) -> io::Result<()> {
    if finished.is_dir() {
        return fs::rename(finished, name);
    }
    match fs::hard_link(finished, name) {
        Ok(()) => fs::remove_file(finished),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists || name.try_exists()? => {
            Err(error)
        }
        // There are file systems without such links.
        Err(_) => fs::rename(finished, name),
    }
}

fn partial(path: &Path) -> PathBuf {
    with(path, ".partial")
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(path);
    path.push(suffix);
    path.into()
}

/// A file that knows how long it is, and its hash.
pub struct Sink {
    file: BufWriter<Hashing>,
}

struct Hashing {
    file: File,
    bytes: u64,
    hash: Sha256,
    flushed: Flushed,
}

/// Brings to the disk what has been written, while more is being written: waiting for all of it at the
/// end would take as long again.
struct Flushed {
    /// Where the last flush has begun.
    from: u64,
    under_way: Option<JoinHandle<io::Result<()>>>,
}

impl Flushed {
    /// Begins a flush, if much was written since the last one, and that has ended well.
    fn follow(&mut self, file: &File, written: u64) -> io::Result<()> {
        if written - self.from < FLUSH_BYTES {
            return Ok(());
        }
        if self.under_way.as_ref().is_some_and(|flush| !flush.is_finished()) {
            return Ok(());
        }
        self.end()?;
        self.from = written;
        let file = file.try_clone()?;
        let flush = thread::Builder::new().name("flush".to_owned());
        self.under_way = Some(flush.spawn(move || file.sync_data())?);
        Ok(())
    }

    /// Waits for the flush that is under way. Its failure is told once, and to whoever has flushed.
    fn end(&mut self) -> io::Result<()> {
        let Some(flush) = self.under_way.take() else { return Ok(()) };
        flush.join().unwrap_or_else(|_| Err(io::Error::other("a flush has panicked")))
    }
}

impl Sink {
    fn new(file: File) -> Self {
        let flushed = Flushed { from: 0, under_way: None };
        let hashing = Hashing { file, bytes: 0, hash: Sha256::new(), flushed };
        Self { file: BufWriter::with_capacity(BUFFER_BYTES, hashing) }
    }

    /// Waits for the disk; gives the length and the hash.
    fn finish(self) -> io::Result<(u64, String)> {
        let Hashing { file, bytes, hash, mut flushed } = self.file.into_inner()?;
        flushed.end()?;
        file.sync_all()?;
        Ok((bytes, hex::encode(hash.finalize())))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        self.flushed.follow(&self.file, self.bytes)?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
