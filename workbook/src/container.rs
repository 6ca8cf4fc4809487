//! The zip that holds a workbook's parts. Before anything in it is believed, every part is
//! inflated once, counted against the limits and compared with its checksum and its own claims:
//! later readers stop where the rows do and would never see a damaged tail.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};

use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

use super::limits::{ReadLimits, too_large, unreadable};
use rowmill_domain::{Problem, ProblemKind};

/// An opened container whose parts have been checked.
pub(crate) struct Container<R> {
    zip: ZipArchive<R>,
    /// Parts by their name in lower case with `/` between folders: some writers disagree with
    /// themselves on either.
    parts: HashMap<String, usize>,
}

impl Container<BufReader<File>> {
    /// Opens and checks the container.
    pub(crate) fn open_file(file: File, limits: &ReadLimits) -> Result<Self, Problem> {
        Self::open(BufReader::with_capacity(64 << 10, file), limits)
    }
}

impl<R: Read + Seek> Container<R> {
    pub(crate) fn open(read: R, limits: &ReadLimits) -> Result<Self, Problem> {
        let mut zip = ZipArchive::new(read).map_err(|error| match error {
            ZipError::InvalidArchive(_) => unreadable(
                "the container is cut short or damaged: its list of parts, which stands at the \
                 end, cannot be found; was the file uploaded completely?",
            ),
            other => part_problem("the container", &other),
        })?;
        if zip.len() > limits.parts {
            return Err(too_large(format!("the limit is {} parts", limits.parts)));
        }
        if zip.has_duplicate_names() {
            return Err(unreadable("a part is in the container twice"));
        }
        if zip.has_overlapping_files().map_err(|e| part_problem("the container", &e))? {
            return Err(unreadable("parts of the container lie on top of each other"));
        }
        let mut parts = HashMap::new();
        for i in 0..zip.len() {
            let name = zip.name_for_index(i).and_then(Result::ok).map(|name| normal(&name));
            let name = name.ok_or_else(|| unreadable("a part's name cannot be read"))?;
            if !name.ends_with('/') && parts.insert(name.clone(), i).is_some() {
                return Err(unreadable(format!("the part `{name}` is in the container twice")));
            }
        }
        let mut container = Self { zip, parts };
        container.check(limits)?;
        Ok(container)
    }

    fn check(&mut self, limits: &ReadLimits) -> Result<(), Problem> {
        let mut buffer = vec![0; 128 << 10];
        let mut total = 0_u64;
        for i in 0..self.zip.len() {
            let mut part = self.zip.by_index(i).map_err(|e| part_problem("a part", &e))?;
            let name = part.name().map(|name| name.into_owned()).unwrap_or_default();
            let (claimed, packed) = (part.size(), part.compressed_size());
            let mut size = 0_u64;
            loop {
                let read = part.read(&mut buffer).map_err(|error| {
                    unreadable(format!("the part `{name}` is damaged: {error}"))
                })?;
                if read == 0 {
                    break;
                }
                size += read as u64;
                total += read as u64;
                if total > limits.inflated_bytes {
                    let limit = limits.inflated_bytes;
                    return Err(too_large(format!("the file inflates to over {limit} bytes")));
                }
                if size > limits.ratio_from_bytes && size / packed.max(1) > limits.ratio {
                    return Err(too_large(format!(
                        "the part `{name}` inflates to more than {} times its size",
                        limits.ratio
                    )));
                }
            }
            if size != claimed {
                return Err(unreadable(format!(
                    "the part `{name}` has {size} bytes and claims {claimed}"
                )));
            }
        }
        Ok(())
    }

    /// Whether there is such a part.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.parts.contains_key(&normal(name))
    }

    /// The names of all parts, normalised.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.keys().map(String::as_str)
    }

    /// A part's bytes, inflated as they are read.
    pub(crate) fn part(&mut self, name: &str) -> Result<ZipFile<'_, R>, Problem> {
        let i = *self
            .parts
            .get(&normal(name))
            .ok_or_else(|| unreadable(format!("the part `{name}` is missing")))?;
        self.zip.by_index(i).map_err(|error| part_problem(name, &error))
    }

    /// The beginning of a part, for a look at what it is.
    pub(crate) fn start_of(&mut self, name: &str, bytes: u64) -> Result<Vec<u8>, Problem> {
        let mut start = Vec::new();
        let read = self.part(name)?.take(bytes).read_to_end(&mut start);
        read.map_err(|error| unreadable(format!("the part `{name}` is damaged: {error}")))?;
        Ok(start)
    }
}

/// A part's name as it is compared.
pub(crate) fn normal(name: &str) -> String {
    name.replace('\\', "/").trim_start_matches('/').to_lowercase()
}

fn part_problem(what: &str, error: &ZipError) -> Problem {
    match error {
        ZipError::UnsupportedArchive(why) if *why == ZipError::PASSWORD_REQUIRED => {
            Problem::new(ProblemKind::Encrypted, "remove the password and try again")
        }
        ZipError::CompressionMethodNotSupported(method) => {
            unreadable(format!("{what} is compressed by a method ({method}) no spreadsheet uses"))
        }
        other => unreadable(format!("{what} is damaged: {other}")),
    }
}
