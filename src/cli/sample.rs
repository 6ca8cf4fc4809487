//! stub
/// stub
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}
impl Args {
    /// stub
    pub(crate) fn run(self) -> std::process::ExitCode {
        std::process::ExitCode::SUCCESS
    }
}
