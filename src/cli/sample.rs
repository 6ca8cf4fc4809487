//! stub
/// stub
#[derive(Debug, clap::Args)]
pub struct Args {}
impl Args {
    /// stub
    pub fn run(self) -> std::process::ExitCode {
        std::process::ExitCode::SUCCESS
    }
}
