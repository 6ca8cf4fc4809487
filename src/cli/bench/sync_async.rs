//! `rowmill bench` and `rowmill bench sync-async`: rows one by one against rows together, at the
//! delays of the Python service that this one follows, beside its published figures and the ideal.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cases::{Case, Delays, Measure, PATIENCE};
use super::error::BenchError;
use super::report::{Column, Report};
use super::scene::Scene;
use super::server::Running;
use super::{chart, print};
use crate::client::{Client, ClientLimits};
use crate::worker::Stop;

/// Where the chart goes unless told, if there is such a directory.
const DOCS: &str = "docs";

/// Measure rows one by one against rows together, with real requests to a real server.
///
/// Creating a row and working on a message take a simulated while; the question is how many are
/// under way at once. Takes about two minutes a database.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// How long creating a row takes
    #[arg(long, value_name = "TIME", env = "ROWMILL_DELAY", default_value = "3s", value_parser = humantime::parse_duration)]
    delay: Duration,

    /// How long working on a message takes
    #[arg(long, value_name = "TIME", env = "ROWMILL_CONSUME_DELAY", default_value = "5s", value_parser = humantime::parse_duration)]
    consume_delay: Duration,

    /// How many messages the single consumer works off
    #[arg(long, value_name = "N", env = "ROWMILL_SINGLE", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    single: u32,

    /// A database: postgres://… or sqlite:PATH, brought up to this version's tables; may be repeated
    /// to measure on several. A temporary SQLite file unless told
    #[arg(long, value_name = "URL", env = "ROWMILL_DATABASE_URL")]
    database_url: Vec<String>,

    /// Print the figures as JSON
    #[arg(long, env = "ROWMILL_JSON")]
    json: bool,

    /// Where the chart goes. docs/bench.svg unless told, if there is a directory docs
    #[arg(long, value_name = "PATH", env = "ROWMILL_SVG")]
    svg: Option<PathBuf>,
}

impl Args {
    pub(super) async fn run(self, stop: &Stop) -> Result<(), BenchError> {
        let delays = Delays { create: self.delay, consume: self.consume_delay };
        let cases = vec![
            Case::OneByOne(21),
            Case::Upload(21),
            Case::Upload(1_000),
            Case::Single(self.single),
            Case::Batch(50),
        ];
        let mut report = Report::new(delays, cases);
        let own = [None];
        let named: Vec<Option<&str>> = self.database_url.iter().map(|url| Some(&**url)).collect();
        for url in if named.is_empty() { &own[..] } else { &named } {
            let mut scene = Scene::open(*url).await?;
            let measured = tokio::select! {
                measured = self.measure(&mut scene, &report) => measured,
                () = stop.drain.cancelled() => Err(BenchError::Stopped),
            };
            scene.close().await;
            report.columns.push(measured?);
        }
        print(&if self.json { report.json()? } else { report.table() });
        if let Some(path) = self.chart_path() {
            chart::draw(&report, &path)?;
        }
        Ok(())
    }

    fn chart_path(&self) -> Option<PathBuf> {
        let default = || Path::new(DOCS).is_dir().then(|| Path::new(DOCS).join("bench.svg"));
        self.svg.clone().or_else(default)
    }

    async fn measure(&self, scene: &mut Scene, report: &Report) -> Result<Column, BenchError> {
        let longest = report.cases.iter().map(|case| case.ideal(report.delays)).max();
        let server = Running::start(scene, self.delay).await?;
        let limits = ClientLimits {
            request_timeout: longest.unwrap_or_default() + PATIENCE,
            ..ClientLimits::default()
        };
        let client = scene.admitted(Client::new(&server.url, limits)?).await?;
        let database = scene.database;
        let mut measure = Measure { scene, client, delays: report.delays };
        let mut seconds = vec![];
        for case in &report.cases {
            if !self.json {
                say(&format!("{database}: {} …", case.what()));
            }
            seconds.push(measure.run(*case).await?.as_secs_f64());
        }
        server.stop().await?;
        Ok(Column { database, seconds })
    }
}

#[allow(clippy::print_stderr)] // to a person who waits for minutes
fn say(what: &str) {
    eprintln!("rowmill: {what}");
}
