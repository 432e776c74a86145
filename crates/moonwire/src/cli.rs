//! The command line: what can be asked of the program.

use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use manifest::{BindAddr, Override};
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::filter::Targets;

/// The exit code for a mistake in the folder or on the command line.
pub(crate) const MISTAKE: u8 = 2;
/// The exit code for any other failure.
pub(crate) const FAILURE: u8 = 1;

/// A realtime application server: the backend is small Luau processes, and every WebSocket is a process too.
#[derive(Parser, Debug)]
#[command(name = "moonwire", version, after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  moonwire new my-chat                                    a chat app to start from
  moonwire run my-chat                                    run it; Ctrl-C stops it
  moonwire run my-chat --set app:gateway:addr=:9000       on another port
  moonwire check my-chat                                  find every mistake without running it
  moonwire test my-chat                                   run its tests";

impl Cli {
    /// Reads the command line of this process; exits with what is to be said if it asks for help or for nothing known.
    pub(crate) fn read() -> Cli {
        Cli::try_parse().unwrap_or_else(|error| with_nearest(error).exit())
    }
}

/// Offers the nearest command for one that does not exist: clap's own measure finds no `run` for `rnu`.
fn with_nearest(mut error: clap::Error) -> clap::Error {
    if let Some(ContextValue::String(wrong)) = error.get(ContextKind::InvalidSubcommand)
        && error.get(ContextKind::SuggestedSubcommand).is_none()
    {
        let names: Vec<String> =
            Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        if let Some(nearest) = units::nearest(wrong, names.iter().map(String::as_str)) {
            error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![nearest.to_owned()]));
        }
    }
    error
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run an app
    Run(RunOptions),
    /// Find everything that `run` would refuse, without running
    Check(Folder),
    /// Run the tests of an app: all *.test.luau files in its folder
    Test(TestOptions),
    /// Make a new app: a chat with rooms, presence and a page
    New(NewOptions),
}

/// The folder of an app, and what the command line changes in it.
#[derive(Args, Debug)]
pub(crate) struct Folder {
    /// The folder with the YAML entries
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,

    /// Replace a field of an entry, such as app:gateway:addr=127.0.0.1:0 (port 0: a free one)
    #[arg(long, value_name = "NS:ENTRY:FIELD=VALUE", value_parser = Override::parse)]
    pub(crate) set: Vec<Override>,
}

#[derive(Args, Debug)]
#[command(after_help = RUN_NOTES)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) folder: Folder,

    /// Threads that run processes and connections [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) shards: Option<u16>,

    /// Read the folder again whenever a source or YAML file in it changes, as SIGHUP does
    #[arg(long)]
    pub(crate) watch: bool,

    /// What may wait in all queues of connections together: what clients do not take, and what they have not finished.
    /// Beyond it the slowest clients are closed with 1013; requests and answers get half of it each
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = size)]
    pub(crate) max_queued: u64,

    /// Serve /metrics (Prometheus text), /healthz and /readyz on this address, such as 127.0.0.1:9090, localhost:9090 or
    /// :9090 (all interfaces); keep it private
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<BindAddr>,

    /// How the log is written to standard error; auto: text on a terminal, else json
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub(crate) log_format: LogFormat,

    /// One line of the log for each connection or request that is over, in the part `access`
    #[arg(long, value_name = "WHICH", default_value = "websocket")]
    pub(crate) access_log: AccessLog,

    /// The least level to log: error, warn, info, debug or trace; or one for each part, such as info,gateway=debug
    #[arg(long, value_name = "LEVEL", env = "MOONWIRE_LOG", default_value = "info")]
    pub(crate) log_level: Targets,
}

const RUN_NOTES: &str = "\
Standard output says where each server listens, then `ready`. SIGTERM and SIGINT (Ctrl-C) let requests finish, close
the connections over the drain time and end with exit code 0; a second one cuts. Exit code 2: a mistake in the folder
or on the command line. 1: any other failure, such as a port in use.

SIGHUP reads the folder again, and so does each change with --watch. New code of functions, processes and libraries is
there at once for all that begins from then on; what runs goes on and hears OUTDATED. Nothing is changed if there is a
mistake in the folder, or if an address, route, host or service differs: those need a restart.

Examples:
  moonwire run
  moonwire run examples/chat --set app:gateway:addr=0.0.0.0:8080 --shards 4
  moonwire run --watch
  moonwire run examples/chat --admin 127.0.0.1:9090 --log-format json --log-level debug";

#[derive(Args, Debug)]
#[command(after_help = TEST_NOTES)]
pub(crate) struct TestOptions {
    #[command(flatten)]
    pub(crate) folder: Folder,

    /// Only tests with this text in their name or their file's
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,

    /// Write the results to this file as JUnit's XML too
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,

    /// Files that are tested at once [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,

    /// Only list the tests
    #[arg(long)]
    pub(crate) list: bool,

    /// Stop at the first test that fails
    #[arg(long)]
    pub(crate) fail_fast: bool,

    /// Show the log of tests that pass, too
    #[arg(long)]
    pub(crate) logs: bool,

    /// Shards of each test's node
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) shards: u16,

    /// What one test may take on the node's clock, which jumps from timer to timer
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    pub(crate) time_limit: Duration,

    /// What one test may take in truth
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) real_limit: Duration,

    /// The least level of what is logged during a test and shown if it fails
    #[arg(long, value_name = "LEVEL", env = "MOONWIRE_LOG", default_value = "info")]
    pub(crate) log_level: Targets,
}

fn size(text: &str) -> Result<u64, String> {
    units::size::parse(text).map_err(|error| error.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    units::duration::parse(text).map_err(|error| error.to_string())
}

const TEST_NOTES: &str = "\
Each test runs on a node of its own, with the app's services and servers, and with a clock that stands still while
anything is ready and jumps to the next timer when all is idle. Exit code 0: all passed. 1: a test failed. 2: a mistake
in the folder or on the command line, or there are no tests.

Examples:
  moonwire test
  moonwire test examples/lobby --filter \"hands over\"
  moonwire test examples/lobby --junit results.xml --jobs 4";

/// How the log is written.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LogFormat {
    /// Text on a terminal, else JSON
    Auto,
    /// One line for people, coloured on a terminal
    Text,
    /// One JSON object a line
    Json,
}

/// Which ends the access log tells.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AccessLog {
    /// None
    Off,
    /// Those of WebSockets
    Websocket,
    /// Those of requests, too
    All,
}

impl From<AccessLog> for gateway::server::access::AccessLog {
    fn from(asked: AccessLog) -> Self {
        match asked {
            AccessLog::Off => Self::Off,
            AccessLog::Websocket => Self::WebSockets,
            AccessLog::All => Self::All,
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct NewOptions {
    /// The name of the app and of its folder
    #[arg(value_parser = crate::new::valid_name)]
    pub(crate) name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_takes_the_working_directory_and_the_info_level_by_default() {
        let Command::Run(options) = Cli::parse_from(["moonwire", "run"]).command else { panic!("not run") };
        assert_eq!(options.folder.dir, PathBuf::from("."));
        assert_eq!(options.log_format, LogFormat::Auto);
        assert!(options.shards.is_none() && options.admin.is_none());
    }

    #[test]
    fn a_level_may_differ_for_a_part() {
        let line = ["moonwire", "run", "--log-level", "warn,gateway=debug"];
        let Command::Run(options) = Cli::parse_from(line).command else { panic!("not run") };
        assert!(options.log_level.would_enable("gateway", &tracing::Level::DEBUG));
        assert!(!options.log_level.would_enable("luau", &tracing::Level::INFO));
    }

    #[test]
    fn the_admin_address_is_written_like_that_of_a_service() {
        for addr in [":9000", "localhost:9000", "127.0.0.1:0", "[::1]:9000"] {
            let Command::Run(options) = Cli::parse_from(["moonwire", "run", "--admin", addr]).command else {
                panic!("not run")
            };
            assert_eq!(options.admin.map(|admin| admin.to_string()).as_deref(), Some(addr));
        }
        for addr in ["9000", "::1:9000", "localhost:99999", "300.1.1.1:80"] {
            let error = Cli::try_parse_from(["moonwire", "run", "--admin", addr]).expect_err("refused");
            assert!(error.to_string().contains("expected host:port such as"), "{error}");
        }
    }

    #[test]
    fn an_unknown_command_is_refused_with_the_nearest() {
        let error = with_nearest(Cli::try_parse_from(["moonwire", "rnu"]).expect_err("refused"));
        assert_eq!(error.exit_code(), i32::from(MISTAKE));
        assert!(error.to_string().contains("'run'"), "{error}");
    }

    #[test]
    fn what_sets_nothing_is_refused() {
        for line in [["moonwire", "run", "--set", "rubbish"], ["moonwire", "run", "--shards", "0"]] {
            let error = Cli::try_parse_from(line).expect_err("refused");
            assert_eq!(error.exit_code(), i32::from(MISTAKE), "{line:?}");
            assert!(error.to_string().contains(line[3]), "{error}");
        }
    }
}
