//! The parts of a workbook, compressed by a thread of their own while the next are written. What waits
//! for it is bounded.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Bytes that are handed over at a time.
pub(super) const PIECE_BYTES: usize = 256 << 10;
/// Pieces that may wait.
const PIECES: usize = 8;
/// The fastest: a sheet compresses well anyhow, and somebody waits.
const LEVEL: i64 = 1;

enum Piece {
    /// A part begins; the one before has ended.
    Part(String),
    Bytes(Vec<u8>),
}

/// A zip archive that is being written.
pub(super) struct Zipped {
    pieces: Option<SyncSender<Piece>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Zipped {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        let (pieces, waiting) = sync_channel(PIECES);
        let thread = std::thread::Builder::new()
            .name("compress".into())
            .spawn(move || compress(file, &waiting))?;
        Ok(Self { pieces: Some(pieces), thread: Some(thread) })
    }

    /// Begins a part.
    pub(super) fn part(&mut self, name: &str) -> io::Result<()> {
        self.send(Piece::Part(name.to_owned()))
    }

    /// Adds to the part at hand; `bytes` is empty afterwards.
    pub(super) fn write(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let piece = std::mem::replace(bytes, Vec::with_capacity(PIECE_BYTES + (4 << 10)));
        self.send(Piece::Bytes(piece))
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.pieces = None;
        self.join()
    }

    fn send(&mut self, piece: Piece) -> io::Result<()> {
        let sent = self.pieces.as_ref().map(|pieces| pieces.send(piece));
        match sent {
            Some(Ok(())) => Ok(()),
            // The thread ends early for an error alone.
            _ => {
                self.pieces = None;
                self.join()?;
                Err(io::Error::other("the archive has ended"))
            }
        }
    }

    fn join(&mut self) -> io::Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(io::Error::other("the compressing thread panicked")),
            None => Err(io::Error::other("the archive has ended")),
        }
    }
}

fn compress(file: File, pieces: &Receiver<Piece>) -> io::Result<()> {
    let mut zip = ZipWriter::new(BufWriter::with_capacity(PIECE_BYTES, file));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(LEVEL));
    while let Ok(piece) = pieces.recv() {
        match piece {
            Piece::Part(name) => zip.start_file(name, options).map_err(io::Error::other)?,
            Piece::Bytes(bytes) => zip.write_all(&bytes)?,
        }
    }
    let mut file = zip.finish().map_err(io::Error::other)?;
    file.flush()
}
