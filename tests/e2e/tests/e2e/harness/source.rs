//! The program under test as a process: the real binary, configured by a file, watched by its log, its exit code and its metrics page.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::http;
use super::stream::Stream;
use super::topic::Topic;
use super::wait::{until, until_true};

/// Lines of a log that a failure shows.
const TAIL: usize = 60;

/// How a source is configured and called; each start is one process.
pub(crate) struct Setup {
    folder: Arc<TempDir>,
    file: Map<String, Value>,
    broker_url: String,
    arguments: Vec<String>,
    metrics: bool,
    inherits: bool,
    starts: std::cell::Cell<usize>,
}

impl Setup {
    /// A source of `stream` into `topic`, from the oldest record, at a pace fit for tests: leases fail over after 2 s, progress is stored each second.
    pub(crate) fn new(stream: &Stream, topic: &Topic) -> Self {
        let endpoint = stream.local.url();
        Self::bare(&stream.name, topic)
            .config("awsRegion", "us-east-1")
            .config("awsEndpoint", endpoint)
            .config("dynamoEndpoint", endpoint)
            .config("cloudwatchEndpoint", endpoint)
            .config("awsCredentialPluginParam", "{\"accessKey\":\"AKIAEXAMPLE\",\"secretKey\":\"secret\"}")
    }

    /// As [`Setup::new`], without saying where the services are and who calls them.
    pub(crate) fn bare(stream: &str, topic: &Topic) -> Self {
        let configs = json!({
            "awsKinesisStreamName": stream,
            "initialPositionInStream": "TRIM_HORIZON",
            "kinesisRecordProperties": "kinesis.arrival.timestamp,kinesis.encryption.type,kinesis.partition.key,kinesis.sequence.number,kinesis.sub.sequence.number,kinesis.shard.id",
            "checkpointInterval": 1000,
            "failoverTimeMillis": 2000,
            "shardSyncIntervalMillis": 1000,
            "parentShardPollIntervalMillis": 500,
            "idleTimeBetweenReadsInMillis": 250,
        });
        let file = json!({
            "tenant": "public",
            "namespace": "default",
            "name": "orders",
            "archive": "builtin://kinesis",
            "topicName": topic.name,
            "configs": configs,
        });
        let Value::Object(file) = file else { unreachable!("it was written as an object") };
        Self {
            folder: Arc::new(tempfile::tempdir().expect("a folder for the test's files can be made")),
            file,
            broker_url: topic.broker.url.clone(),
            arguments: Vec::new(),
            metrics: false,
            inherits: false,
            starts: std::cell::Cell::new(0),
        }
    }

    /// A key of the connector's own configuration; null takes it away.
    pub(crate) fn config(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.set_config(key, value);
        self
    }

    pub(crate) fn set_config(&mut self, key: &str, value: impl Into<Value>) {
        let configs = self.file["configs"].as_object_mut().expect("it was written as an object");
        match value.into() {
            Value::Null => configs.remove(key),
            value => configs.insert(key.to_owned(), value),
        };
    }

    /// A key of the file around it.
    pub(crate) fn top(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.set_top(key, value);
        self
    }

    pub(crate) fn set_top(&mut self, key: &str, value: impl Into<Value>) {
        self.file.insert(key.to_owned(), value.into());
    }

    /// Polling rather than fan-out.
    pub(crate) fn polling(self) -> Self {
        self.config("useEnhancedFanOut", false)
    }

    /// A flag of the command line, with its value if it takes one.
    pub(crate) fn flag(mut self, flag: &str, value: &str) -> Self {
        self.arguments.push(flag.to_owned());
        if !value.is_empty() {
            self.arguments.push(value.to_owned());
        }
        self
    }

    pub(crate) fn broker_url(mut self, url: &str) -> Self {
        self.broker_url = url.to_owned();
        self
    }

    /// Serves the metrics page, on a port that is free now.
    pub(crate) fn metrics(mut self) -> Self {
        self.metrics = true;
        self
    }

    /// Hands on this process's environment, with the AWS settings in it.
    pub(crate) fn inherits_environment(mut self) -> Self {
        self.inherits = true;
        self
    }

    /// What a command says that takes the configuration's file at the end of `arguments`; it must end with 0.
    pub(crate) async fn command(&self, arguments: &[&str]) -> String {
        let binary = tokio::task::spawn_blocking(binary).await.expect("finding the program does not panic");
        let file = self.write_file(&format!("asked-{}.json", fastrand::u32(..)));
        let mut command = tokio::process::Command::new(binary);
        command.args(arguments).arg(&file).env_clear().env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", self.folder.path());
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("the program can be started");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?} ended with {}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
        text
    }

    /// The lease table as `pulsar-connect leases --json` tells it.
    pub(crate) async fn leases(&self) -> Value {
        serde_json::from_str(&self.command(&["leases", "--json", "--source-config-file"]).await).expect("`--json` prints JSON")
    }

    /// Waits until the checkpoint of the first lease covers a record.
    pub(crate) async fn until_a_checkpoint(&self, within: Duration) {
        let covers = async || self.leases().await["leases"][0]["ordinal"].as_u64() > Some(0);
        super::wait::until_true("a checkpoint", within, covers).await;
    }

    /// Copies all configurations and logs so far to a folder that outlives the test.
    pub(crate) fn keep_files(&self) -> PathBuf {
        let kept = std::env::temp_dir().join(super::unique("kept"));
        std::fs::create_dir_all(&kept).expect("the folder for temporary files can be written");
        for file in std::fs::read_dir(self.folder.path()).expect("the test's folder can be read").flatten() {
            drop(std::fs::copy(file.path(), kept.join(file.file_name())));
        }
        kept
    }

    fn write_file(&self, name: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        std::fs::write(&file, Value::Object(self.file.clone()).to_string()).expect("the test's folder can be written");
        file
    }

    /// Starts a process.
    pub(crate) async fn start(&self) -> Source {
        let binary = tokio::task::spawn_blocking(binary).await.expect("finding the program does not panic");
        let nth = self.starts.get() + 1;
        self.starts.set(nth);
        let (file, log) = (self.write_file(&format!("source-{nth}.json")), self.folder.path().join(format!("source-{nth}.log")));
        let output = std::fs::File::create(&log).expect("the test's folder can be written");
        let metrics = self.metrics.then(free_port);
        let mut command = tokio::process::Command::new(binary);
        command.args(["sources", "localrun", "--source-config-file"]).arg(&file);
        command.args(["--broker-service-url", &self.broker_url]).args(&self.arguments);
        if let Some(port) = metrics {
            command.args(["--metrics-port-start", &port.to_string()]);
        }
        // Nothing of the caller's own AWS settings reaches a test that does not ask for it.
        if !self.inherits {
            command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("AWS_EC2_METADATA_DISABLED", "true");
            command.env("HOME", self.folder.path());
        }
        command.env("RUST_BACKTRACE", "1");
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a file can be opened twice")).stderr(output).kill_on_drop(true);
        let child = command.spawn().expect("the program can be started");
        Source { child, log, metrics, _folder: Arc::clone(&self.folder) }
    }
}

/// A running source. Dropped, it is killed; where a test fails, its log is shown.
pub(crate) struct Source {
    child: tokio::process::Child,
    log: PathBuf,
    metrics: Option<u16>,
    /// Configuration and log stay as long as it runs.
    _folder: Arc<TempDir>,
}

impl Source {
    /// What it has written so far, without colours.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let mut plain = String::with_capacity(text.len());
        let mut parts = text.split("\x1b[");
        plain.push_str(parts.next().unwrap_or_default());
        for part in parts {
            plain.push_str(part.split_once(|end: char| end.is_ascii_alphabetic()).map_or("", |(_, rest)| rest));
        }
        plain
    }

    /// Waits until its log has a line with all of `words`.
    pub(crate) async fn says(&mut self, words: &[&str], within: Duration) -> String {
        let log = self.log.clone();
        let what = format!("a line with {words:?} in the log");
        let line = until(&what, within, async || {
            let text = self.log();
            let found = text.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned);
            found.ok_or_else(|| format!("{} lines in {}", text.lines().count(), log.display()))
        });
        line.await
    }

    /// SIGKILL; returns when it is gone.
    pub(crate) async fn kill_nine(mut self) {
        self.child.kill().await.expect("the process can be killed");
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal by its name, as in `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().expect("the process was not waited for").to_string();
        let sent = Command::new("sh").args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &id]).status().expect("`sh` can be run");
        assert!(sent.success(), "SIG{name} could not be sent");
    }

    /// Waits for its end by itself; the exit code and everything it wrote.
    pub(crate) async fn ends(mut self, within: Duration) -> (i32, String) {
        let status = tokio::time::timeout(within, self.child.wait()).await;
        let status: ExitStatus =
            status.unwrap_or_else(|_| panic!("the source did not end within {} s", within.as_secs())).expect("it can be waited for");
        let log = self.log();
        let code = status.code().unwrap_or_else(|| panic!("the source was ended by a signal: {status}"));
        (code, log)
    }

    /// Asks it to stop; it must end with 0.
    pub(crate) async fn stop(self) -> String {
        self.signal("TERM");
        let shown = self.log.clone();
        let (code, log) = self.ends(Duration::from_secs(60)).await;
        assert_eq!(code, 0, "a clean stop ends with 0; the log in {} ends:\n{}", shown.display(), tail(&log));
        log
    }

    /// A sample of the metrics page, added up over its labels; 0 where there is none.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let url = format!("http://127.0.0.1:{}/metrics", self.metrics.expect("the set-up asked for metrics"));
        let Ok(answer) = http::call("GET", &url, &[], b"").await else { return 0.0 };
        let text = answer.text();
        let samples = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until the metrics page shows at least `value`.
    pub(crate) async fn shows(&self, name: &str, value: f64, within: Duration) {
        until_true(&format!("`{name}` of {value}"), within, async || self.metric(name).await >= value).await;
    }

    /// The most memory it ever held, in KiB.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        let id = self.child.id().expect("the process was not waited for");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells the peak");
        line.trim().trim_end_matches(" kB").trim().parse().expect("the kernel writes a number")
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the source's log ends ---\n{}\n---", tail(&self.log()));
        }
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

/// The program: `PULSAR_CONNECT_BIN` names it, or a folder that holds it; else it is built, in the profile that these tests were built in.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("PULSAR_CONNECT_BIN") {
            let given = PathBuf::from(given);
            return if given.is_dir() { given.join("pulsar-connect") } else { given };
        }
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "-p", "pulsar-connect", "--bin", "pulsar-connect"]).current_dir(super::checkout());
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo can be run").success(), "the program does not build");
        // Tests lie in target/PROFILE/deps, programs in target/PROFILE.
        let own = std::env::current_exe().expect("this program has a path");
        own.ancestors().nth(2).expect("tests lie two folders deep").join("pulsar-connect")
    })
}

/// A port nobody listens on now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("some port is free");
    listener.local_addr().expect("a listener has an address").port()
}
