//! Real brokers: the shared one, one that may be broken, one that asks for tokens and speaks TLS.
//!
//! A broker is started once, by `tests/rig/pulsar`, at its first use, and stopped when this process ends, however it ends. One that cannot be started
//! fails every test that needs it, with the reason. The shared one is that of `PULSAR_SERVICE_URL` or `PULSAR_URL` when given.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use super::http;
use super::wait::until;

#[derive(Debug)]
pub(crate) struct Broker {
    /// `pulsar://host:port`
    pub(crate) url: String,
    /// `http://host:port`
    pub(crate) admin: String,
    /// What the rig printed about it.
    pub(crate) variables: HashMap<String, String>,
    /// For one that was started here.
    rig: Option<Rig>,
}

#[derive(Debug)]
struct Rig {
    folder: PathBuf,
    options: &'static [&'static str],
}

type Started = OnceLock<Result<Broker, String>>;

/// The broker that nobody may disturb.
pub(crate) async fn shared() -> &'static Broker {
    static SHARED: Started = OnceLock::new();
    started(&SHARED, || match std::env::var("PULSAR_SERVICE_URL").or_else(|_| std::env::var("PULSAR_URL")) {
        Ok(url) => {
            let admin = std::env::var("PULSAR_ADMIN_URL").ok().filter(|admin| !admin.is_empty());
            let admin =
                admin.ok_or("a broker is given by PULSAR_URL: give its admin address, too, as PULSAR_ADMIN_URL=http://host:port")?;
            Ok(Broker { url, admin: admin.trim_end_matches('/').to_owned(), variables: HashMap::new(), rig: None })
        }
        Err(_) => start("shared", &[]),
    })
    .await
}

/// A broker that may be killed and paused, by one test at a time.
pub(crate) async fn breakable() -> (&'static Broker, MutexGuard<'static, ()>) {
    static BREAKABLE: Started = OnceLock::new();
    static IN_USE: Mutex<()> = Mutex::const_new(());
    let guard = IN_USE.lock().await;
    let broker = started(&BREAKABLE, || start("breakable", &[])).await;
    // The test before may have failed with the broker paused or dead.
    broker.signal("resume").await;
    broker.up().await;
    (broker, guard)
}

/// A broker with TLS that takes signed tokens only.
pub(crate) async fn secured() -> &'static Broker {
    static SECURED: Started = OnceLock::new();
    started(&SECURED, || start("secured", &["--tls", "--token-auth"])).await
}

async fn started(cell: &'static Started, how: impl FnOnce() -> Result<Broker, String> + Send + 'static) -> &'static Broker {
    let broker = tokio::task::spawn_blocking(move || cell.get_or_init(how)).await.expect("starting a broker does not panic");
    broker.as_ref().unwrap_or_else(|reason| panic!("there is no broker to test with: {reason}"))
}

fn start(name: &str, options: &'static [&'static str]) -> Result<Broker, String> {
    let folder = own_state().join(name);
    script(&folder, "wipe", &[])?;
    let printed = script(&folder, "up", options)?;
    keep_until_exit(&folder)?;
    let variables = exports(&printed);
    let named = |name: &str| variables.get(name).cloned().ok_or_else(|| format!("the rig printed no {name}"));
    Ok(Broker { url: named("PULSAR_SERVICE_URL")?, admin: named("PULSAR_ADMIN_URL")?, rig: Some(Rig { folder, options }), variables })
}

/// The folder of the brokers of this suite. One run at a time uses it: a second one waits here.
fn own_state() -> PathBuf {
    static LOCKED: OnceLock<(PathBuf, File)> = OnceLock::new();
    let (folder, _) = LOCKED.get_or_init(|| {
        let state = std::env::var_os("PULSAR_CONNECT_RIG").map_or_else(|| super::checkout().join(".rig"), PathBuf::from);
        let folder = state.join("e2e");
        std::fs::create_dir_all(&folder).expect("the state folder of the rig can be written");
        let lock = File::create(folder.join("in-use")).expect("the state folder of the rig can be written");
        lock.lock().expect("the file system knows locks");
        (folder, lock)
    });
    folder.clone()
}

/// Runs one command of `tests/rig/pulsar`; its output, or what it said last.
fn script(folder: &Path, command: &str, options: &[&str]) -> Result<String, String> {
    let output = Command::new(super::checkout().join("tests/rig/pulsar/pulsar"))
        .arg(command)
        .arg("--dir")
        .arg(folder)
        .args(options)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`tests/rig/pulsar/pulsar` cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("`tests/rig/pulsar/pulsar {command}` failed:\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// Leaves a small shell behind that stops the broker when this process is gone, even by a signal: its input ends then.
fn keep_until_exit(folder: &Path) -> Result<(), String> {
    let keeper = Command::new("setsid")
        .args(["sh", "-c", "read -r _; exec \"$0\" down --dir \"$1\""])
        .arg(super::checkout().join("tests/rig/pulsar/pulsar"))
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("`setsid sh` cannot be run: {error}"))?;
    static KEEPERS: std::sync::Mutex<Vec<std::process::Child>> = std::sync::Mutex::new(Vec::new());
    KEEPERS.lock().expect("nobody panics while holding it").push(keeper);
    Ok(())
}

/// `export NAME=value` lines; values are quoted by the shell only where they need it, and ours do not.
fn exports(printed: &str) -> HashMap<String, String> {
    let pairs = printed.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Broker {
    /// SIGKILL; returns when the process is gone.
    pub(crate) async fn kill(&self) {
        self.run("kill").await.expect("the broker can be killed");
    }

    /// `pause` (SIGSTOP) or `resume` (SIGCONT); of a broker that is not there, nothing.
    pub(crate) async fn signal(&self, command: &'static str) {
        if let Err(reason) = self.run(command).await {
            assert!(reason.contains("not running"), "{reason}");
        }
    }

    /// Starts it again with its data, unless it runs; returns when it is healthy.
    pub(crate) async fn up(&self) {
        self.run("up").await.expect("the broker can be started again");
    }

    async fn run(&self, command: &'static str) -> Result<String, String> {
        let rig = self.rig.as_ref().expect("only a broker that was started here is broken");
        let (folder, options) = (rig.folder.clone(), rig.options);
        let options = if command == "up" { options } else { &[] };
        tokio::task::spawn_blocking(move || script(&folder, command, options)).await.expect("running a script does not panic")
    }

    /// A token that the secured broker takes for `role`.
    pub(crate) async fn token(&self, role: &str) -> String {
        let folder = self.rig.as_ref().expect("tokens are signed by a broker that was started here").folder.clone();
        let role = role.to_owned();
        let printed =
            tokio::task::spawn_blocking(move || script(&folder, "token", &[&role])).await.expect("running a script does not panic");
        printed.expect("the broker has a key").trim().to_owned()
    }

    /// What the admin API answers to a question, which begins behind `/admin/v2/`.
    pub(crate) async fn ask(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let url = format!("{}/admin/v2/{path}", self.admin);
        let answer = http::call("GET", &url, &[], b"").await?;
        anyhow::ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// One call of the admin API, tried until the broker takes it: a new broker loads its parts one by one.
    pub(crate) async fn administer(&self, method: &str, path: &str, body: &str) {
        let url = format!("{}/admin/v2/{path}", self.admin);
        until(&format!("`{method} {url}`"), Duration::from_secs(60), async || {
            match http::call(method, &url, &[("Content-Type", "application/json")], body.as_bytes()).await {
                Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
                Err(error) => Err(format!("{error:#}")),
            }
        })
        .await;
    }
}
