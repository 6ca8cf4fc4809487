//! The files of the page as they are in the binary, and what the browser gets of them.
//!
//! There is no step that makes them. What is done to them is done once, at start: comments and
//! indentation are left out (`trim`), the version goes into the page's addresses, and it names its
//! modules, so that a browser fetches them all at once and not one after the other as they import
//! each other.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::trim::trimmed;
use Kind::{Image as IMAGE, Script as SCRIPT, Style as STYLE};

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// HTML.
    Page,
    /// CSS.
    Style,
    /// A module.
    Script,
    /// SVG.
    Image,
}

impl Kind {
    /// Its content type.
    fn name(self) -> &'static str {
        match self {
            Self::Page => "text/html; charset=utf-8",
            Self::Style => "text/css; charset=utf-8",
            Self::Script => "text/javascript; charset=utf-8",
            Self::Image => "image/svg+xml",
        }
    }
}

/// What stands for the version in the page.
const VERSION: &str = "assets/@/";
/// Characters of a version.
const LONG: usize = 16;

/// The page itself.
const INDEX: &str = include_str!("../../../resources/web/index.html");

macro_rules! files {
    ($($name:literal $kind:ident),* $(,)?) => {
        [$(($name, $kind, include_str!(concat!("../../../resources/web/", $name)))),*]
    };
}

/// What the page loads: names, kinds, contents.
const FILES: [(&str, Kind, &str); 25] = files![
    "icon.svg" IMAGE,
    "style.css" STYLE,
    "api.js" SCRIPT,
    "app.js" SCRIPT,
    "ask.js" SCRIPT,
    "bars.js" SCRIPT,
    "chart.js" SCRIPT,
    "dom.js" SCRIPT,
    "downloads.js" SCRIPT,
    "drop.js" SCRIPT,
    "failures.js" SCRIPT,
    "format.js" SCRIPT,
    "link.js" SCRIPT,
    "preview.js" SCRIPT,
    "queue.js" SCRIPT,
    "queues.js" SCRIPT,
    "router.js" SCRIPT,
    "rows.js" SCRIPT,
    "send.js" SCRIPT,
    "session.js" SCRIPT,
    "spoken.js" SCRIPT,
    "tray.js" SCRIPT,
    "upload.js" SCRIPT,
    "uploads.js" SCRIPT,
    "workers.js" SCRIPT,
];

/// A file as it is sent.
#[derive(Debug)]
pub(super) struct File {
    kind: Kind,
    plain: Bytes,
    packed: OnceLock<Bytes>,
}

impl File {
    fn new(kind: Kind, plain: Bytes) -> Self {
        Self { kind, plain, packed: OnceLock::new() }
    }

    /// Its content type.
    pub(super) fn kind(&self) -> &'static str {
        self.kind.name()
    }

    /// It as it is sent to those who cannot unpack.
    pub(super) fn plain(&self) -> Bytes {
        self.plain.clone()
    }

    /// It as gzip, packed when it is first asked for.
    pub(super) fn packed(&self) -> Bytes {
        let pack = || {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            // Writing into memory cannot fail.
            let _ = encoder.write_all(&self.plain);
            encoder.finish().unwrap_or_default().into()
        };
        self.packed.get_or_init(pack).clone()
    }
}

/// All files, ready to be sent.
#[derive(Debug)]
pub(super) struct Assets {
    version: String,
    index: File,
    files: BTreeMap<&'static str, File>,
}

impl Assets {
    /// The files of this binary.
    pub(super) fn new() -> Self {
        let mut hash = Sha256::new();
        hash.update(INDEX);
        for (name, _, text) in FILES {
            // A name says where its text begins, so that no text can pass for two.
            hash.update(format!("\0{name}\0{}\0", text.len()));
            hash.update(text);
        }
        let mut version: String =
            hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        version.truncate(LONG);
        let modules: String = FILES
            .iter()
            .filter(|(_, kind, _)| *kind == SCRIPT)
            .map(|(name, ..)| format!("  <link rel=\"modulepreload\" href=\"{VERSION}{name}\">\n"))
            .collect();
        let index = trimmed(Kind::Page, INDEX)
            .replacen("</head>", &format!("{modules}</head>"), 1)
            .replace(VERSION, &format!("assets/{version}/"));
        let file = |(name, kind, text): (&'static str, Kind, &'static str)| {
            (name, File::new(kind, trimmed(kind, text).into()))
        };
        let files = FILES.into_iter().map(file).collect();
        Self { version, index: File::new(Kind::Page, index.into()), files }
    }

    /// What changes with any of them.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The page.
    pub(super) fn index(&self) -> &File {
        &self.index
    }

    /// What the page loads by this name.
    pub(super) fn file(&self, name: &str) -> Option<&File> {
        self.files.get(name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Bytes of all files together, as they are sent to those who cannot unpack.
    const MOST: usize = 100_000;

    #[test]
    fn all_together_are_small() {
        let assets = Assets::new();
        let files = assets.files.values().chain([&assets.index]);
        let size: usize = files.map(|file| file.plain().len()).sum();
        assert!(size < MOST, "{size} bytes");
    }

    /// What is left out is comments and indentation: nothing that a browser would miss.
    #[test]
    fn they_can_be_trimmed() {
        assert!(!INDEX.contains("<pre") && !INDEX.contains("<textarea"));
        for (name, kind, text) in FILES {
            let sent = trimmed(kind, text);
            assert!(kind == Kind::Image || sent.len() < text.len(), "{name} has long texts");
            let words = |text: &str| text.split_whitespace().map(str::len).sum::<usize>();
            let comments: usize = comments(kind, text).map(words).sum();
            assert_eq!(words(&sent) + comments, words(text), "{name}");
        }
    }

    /// The lines that are comments, found by another rule: by what they begin and end with.
    fn comments(kind: Kind, text: &str) -> impl Iterator<Item = &str> {
        let mut within = false;
        text.lines().filter(move |line| {
            let line = line.trim();
            if kind == Kind::Script && !within && line.starts_with("//") {
                return true;
            }
            let whole = within
                || (line.starts_with("/*") && (!line.contains("*/") || line.ends_with("*/")));
            within = whole && !line.ends_with("*/");
            whole && kind != Kind::Image
        })
    }

    #[test]
    fn every_file_is_in_the_binary_and_every_one_that_is_named_is_there() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("resources/web");
        let there: BTreeSet<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "index.html")
            .collect();
        let known: BTreeSet<String> = FILES.iter().map(|(name, ..)| (*name).to_owned()).collect();
        assert_eq!(there, known);
        let named = |text: &str, before: &str| -> Vec<String> {
            let parts = text.split(before).skip(1);
            parts.map(|part| part.split('"').next().unwrap().to_owned()).collect()
        };
        let mut all = named(INDEX, VERSION);
        for (_, _, text) in FILES {
            all.extend(named(text, "from \"./"));
        }
        assert!(all.len() > FILES.len(), "{all:?}");
        for name in all {
            assert!(known.contains(&name), "{name}");
        }
    }

    /// The policy would stop them, and the page with them.
    #[test]
    fn nothing_is_inline_and_nothing_becomes_markup() {
        for inline in ["<style", " style=\"", "onclick=", "javascript:", "<script>"] {
            assert!(!INDEX.contains(inline), "{inline}");
        }
        for (name, _, text) in FILES {
            for markup in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
            {
                assert!(!text.contains(markup), "{name}: {markup}");
            }
            assert!(!text.contains("https://") && !text.contains("//cdn"), "{name}");
        }
    }

    #[test]
    fn the_page_names_its_files_by_their_version() {
        let assets = Assets::new();
        let page = String::from_utf8(assets.index().plain().to_vec()).unwrap();
        assert!(!page.contains('@'), "{page}");
        let app = format!("<script type=\"module\" src=\"assets/{}/app.js\">", assets.version());
        assert!(page.contains(&app), "{page}");
        assert_eq!(page.matches("modulepreload").count(), 23);
        assert_eq!(assets.version().len(), LONG);
        assert!(assets.index().packed().len() < assets.index().plain().len() / 2);
    }
}
