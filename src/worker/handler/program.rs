//! Finding the program that `--exec` names, once and before anything runs.
//!
//! A program that is missing, or cannot be executed, would fail in the same way for every row and
//! take every row's retries with it. What can be known beforehand is refused beforehand.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Why a program cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// A bare name that no directory of PATH holds.
    #[error("there is no program `{0}` in the PATH (one beside you is `./{0}`)")]
    NotInPath(String),
    /// A path that leads nowhere.
    #[error("there is no program `{0}`")]
    NotFound(PathBuf),
    /// A directory or some such.
    #[error("`{0}` is not a file that could be run")]
    NotAFile(PathBuf),
    /// The file's mode forbids it.
    #[error("`{0}` is not executable (`chmod +x {0}` makes it so)")]
    NotExecutable(PathBuf),
    /// A text that does not say what runs it.
    #[error("`{0}` has no `#!` line: its first line must name its interpreter, as in `#!/bin/sh`")]
    NoInterpreter(PathBuf),
}

/// The file that `program` names: itself if it has a slash, else the first match in `path` (a
/// PATH variable's value). The answer is absolute, so a change of directory does not matter.
pub(super) fn find(program: &str, path: Option<&OsStr>) -> Result<PathBuf, ProgramError> {
    if program.contains('/') {
        let file = std::path::absolute(program).unwrap_or_else(|_| program.into());
        return check(&file).map(|()| file);
    }
    let mut refused = None;
    let directories = path.filter(|_| !program.is_empty()).into_iter();
    for directory in directories.flat_map(std::env::split_paths) {
        let file = std::path::absolute(directory.join(program)).unwrap_or_default();
        match check(&file) {
            Ok(()) => return Ok(file),
            Err(ProgramError::NotFound(_) | ProgramError::NotAFile(_)) => {}
            // As a shell does: a later directory may hold one that can be executed.
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| ProgramError::NotInPath(program.to_owned())))
}

fn check(file: &Path) -> Result<(), ProgramError> {
    let Ok(metadata) = file.metadata() else {
        return Err(ProgramError::NotFound(file.to_owned()));
    };
    if !metadata.is_file() {
        return Err(ProgramError::NotAFile(file.to_owned()));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(ProgramError::NotExecutable(file.to_owned()));
    }
    // The kernel knows programs by their first bytes, which are not text in any binary format. A
    // file that may be executed but not read keeps its secret until it runs.
    let mut first = Vec::new();
    let read = File::open(file).and_then(|f| f.take(4).read_to_end(&mut first));
    let text = first.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace());
    if read.is_ok() && text && !first.starts_with(b"#!") {
        return Err(ProgramError::NoInterpreter(file.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_or_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, mode: u32, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            path
        };
        let good = file("good", 0o755, "#!/bin/sh\n");
        let plain = file("plain", 0o644, "#!/bin/sh\n");
        let bare = file("bare", 0o755, "echo hello\n");
        let path = std::env::join_paths([Path::new("/nonexistent"), dir.path()]).unwrap();
        let find = |program: &str| super::find(program, Some(&path));

        assert_eq!(find("good"), Ok(good.clone()));
        assert_eq!(find(good.to_str().unwrap()), Ok(good));
        assert_eq!(find("plain"), Err(ProgramError::NotExecutable(plain)));
        assert_eq!(find("bare"), Err(ProgramError::NoInterpreter(bare)));
        assert_eq!(find("missing"), Err(ProgramError::NotInPath("missing".into())));
        assert_eq!(find(""), Err(ProgramError::NotInPath(String::new())));
        assert_eq!(find("/no/such"), Err(ProgramError::NotFound("/no/such".into())));
        let here = dir.path().to_owned();
        assert_eq!(find(&format!("{}/", here.display())), Err(ProgramError::NotAFile(here)));
        assert!(super::find("sh", Some(OsStr::new("/usr/bin:/bin"))).is_ok());
    }
}
