//! Bytes to text: which encoding, found out or told, and decoding piece by piece. Bytes that the
//! encoding does not have refuse the file: a replacement character in a name is a wrong name.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8};

use super::super::kind::{self, ByteOrder};
use super::super::limits::unreadable;
use super::super::options::CsvOptions;
use super::wide::Wide;
use rowmill_domain::Problem;

const PIECE: usize = 64 << 10;
/// How much of a file that is not UTF-8 is looked at to guess what it is.
const GUESS_BYTES: u64 = 4 << 20;

/// A file's text, piece by piece.
pub(super) struct Decoded {
    file: File,
    /// For UTF-32, which becomes UTF-8 before it is decoded.
    wide: Option<Wide>,
    encoding: &'static Encoding,
    decoder: Decoder,
    input: Vec<u8>,
    /// Bytes of `input` that are still to be decoded.
    rest: std::ops::Range<usize>,
    text: String,
    /// Text that was looked at and has not been handed out.
    ahead: bool,
    done: bool,
}

impl Decoded {
    pub(super) fn open(mut file: File, options: &CsvOptions) -> Result<Self, Problem> {
        let mut wide = None;
        let encoding = match &options.encoding {
            Some(label) if label.to_ascii_lowercase().starts_with("utf-32") => {
                wide = Some(find_wide(&mut file, label).map_err(|error| broken(&error))?);
                UTF_8
            }
            Some(label) => Encoding::for_label(label.as_bytes()).ok_or_else(|| {
                unreadable(format!("`{label}` is no encoding; try utf-8 or windows-1252"))
            })?,
            None => {
                let start = start_of(&mut file).map_err(|error| broken(&error))?;
                wide = kind::utf32(&start).map(Wide::new);
                match &wide {
                    Some(_) => UTF_8,
                    None => find(&mut file, &start).map_err(|error| broken(&error))?,
                }
            }
        };
        file.seek(SeekFrom::Start(0)).map_err(|error| broken(&error))?;
        Ok(Self {
            file,
            wide,
            encoding,
            decoder: encoding.new_decoder_with_bom_removal(),
            input: vec![0; PIECE],
            rest: 0..0,
            text: String::new(),
            ahead: false,
            done: false,
        })
    }

    /// The beginning of the text, which stays to be handed out.
    pub(super) fn sample(&mut self, bytes: usize) -> Result<&str, Problem> {
        self.ahead = true;
        while !self.done && self.text.len() < bytes {
            self.decode()?;
        }
        Ok(&self.text)
    }

    /// The next piece of text.
    pub(super) fn next(&mut self) -> Result<Option<&str>, Problem> {
        if !self.ahead {
            self.text.clear();
            while !self.done && self.text.is_empty() {
                self.decode()?;
            }
        }
        self.ahead = false;
        Ok((!self.text.is_empty()).then_some(self.text.as_str()))
    }

    fn decode(&mut self) -> Result<(), Problem> {
        let mut last = false;
        if self.rest.is_empty() {
            let read = match &mut self.wide {
                Some(wide) => wide.read(&mut self.file, &mut self.input)?,
                None => self.file.read(&mut self.input).map_err(|error| broken(&error))?,
            };
            self.rest = 0..read;
            last = read == 0;
        }
        let input = self.input.get(self.rest.clone()).unwrap_or_default();
        // What is asked for is never less than what the decoder needs to get on.
        self.text.reserve(self.decoder.max_utf8_buffer_length(input.len()).unwrap_or(PIECE * 3));
        let (result, read, errors) = self.decoder.decode_to_string(input, &mut self.text, last);
        self.rest.start += read;
        self.done = last && result == CoderResult::InputEmpty;
        if errors {
            let name = self.encoding.name();
            return Err(unreadable(format!(
                "the text is not the {name} it should be; say which encoding it has"
            )));
        }
        Ok(())
    }
}

fn start_of(file: &mut File) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.take(4096).read_to_end(&mut start)?;
    Ok(start)
}

/// The byte order that a label says, or the file does.
fn find_wide(file: &mut File, label: &str) -> io::Result<Wide> {
    let big = label.to_ascii_lowercase().ends_with("be");
    let order = match kind::utf32(&start_of(file)?) {
        Some(order) if !big => order,
        _ if big => ByteOrder::Big,
        _ => ByteOrder::Little,
    };
    Ok(Wide::new(order))
}

fn broken(error: &io::Error) -> Problem {
    unreadable(format!("the file cannot be read: {error}"))
}

/// A byte order mark says it; zeros betray UTF-16; what is valid UTF-8 to its end is that, as other
/// encodings hardly ever are by accident; the rest is guessed by the frequency of its letters.
fn find(file: &mut File, start: &[u8]) -> io::Result<&'static Encoding> {
    if let Some((encoding, _)) = Encoding::for_bom(start) {
        return Ok(encoding);
    }
    if let Some(encoding) = kind::utf16(start) {
        return Ok(encoding);
    }
    file.seek(SeekFrom::Start(0))?;
    let Some(at) = first_invalid_utf8(file)? else { return Ok(UTF_8) };
    // From a while before the first byte that is no UTF-8: everything before is ASCII or nearly.
    file.seek(SeekFrom::Start(at.saturating_sub(GUESS_BYTES / 4)))?;
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    let (mut piece, mut seen) = (vec![0; PIECE], 0);
    while seen < GUESS_BYTES {
        let read = file.read(&mut piece)?;
        let bytes = piece.get(..read).unwrap_or_default();
        detector.feed(bytes, read == 0);
        if read == 0 {
            break;
        }
        seen += read as u64;
    }
    Ok(detector.guess(None, Utf8Detection::Deny))
}

fn first_invalid_utf8(file: &mut File) -> io::Result<Option<u64>> {
    let mut piece = vec![0; PIECE];
    let (mut kept, mut before) = (0, 0_u64);
    loop {
        let read = file.read(&mut piece[kept..])?;
        let bytes = piece.get(..kept + read).unwrap_or_default();
        let valid = Encoding::utf8_valid_up_to(bytes);
        let rest = bytes.len() - valid;
        // A character may be cut by the end of the piece, not by the end of the file.
        if rest > 3 || (rest > 0 && (read == 0 || !is_cut(&bytes[valid..]))) {
            return Ok(Some(before + valid as u64));
        }
        if read == 0 {
            return Ok(None);
        }
        before += valid as u64;
        piece.copy_within(valid..valid + rest, 0);
        kept = rest;
    }
}

/// Whether more bytes could make these a character.
fn is_cut(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
