//! The binary: says where it listens, answers there, stops on SIGTERM.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// Ends the process even when the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.kill().is_ok() {
            self.0.wait().unwrap();
        }
    }
}

#[test]
fn it_listens_on_any_port_and_stops_on_sigterm() {
    let arguments = ["--port", "0", "--create-stream", "orders:3"];
    let child = Command::new(env!("CARGO_BIN_EXE_local-aws")).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut running = Running(child);
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = first.strip_prefix("local-aws listens on http://").unwrap().to_owned();

    let mut connection = TcpStream::connect(&address).unwrap();
    let body = r#"{"StreamName":"orders"}"#;
    write!(
        connection,
        "POST / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nx-amz-target: Kinesis_20131202.ListShards\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert_eq!(answer.matches("\"ShardId\"").count(), 3, "{answer}");

    let pid = running.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(running.0.wait().unwrap().success());
    assert_eq!(lines.last().unwrap().unwrap(), "local-aws stops");
}
