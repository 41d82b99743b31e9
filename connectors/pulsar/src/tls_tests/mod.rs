//! TLS against a real rustls server on a port of the system's choice, with certificates made for these tests alone.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::auth::{self, Authentication};
use crate::driver::{Dial, Dialer};
use crate::url::HostPort;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/tls_tests").join(name)
}

/// A server that echoes one byte; with `demand`, only to clients with a certificate.
async fn server(demand: bool) -> (u16, tokio::task::JoinHandle<()>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&file("server.pem")).await.unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server-key.pem")).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let builder = if demand {
        let mut roots = RootCertStore::empty();
        roots.add(certificates(&file("ca.pem")).await.unwrap().remove(0)).unwrap();
        builder.with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            // A client that goes away again is part of the tests.
            if let Ok(mut stream) = acceptor.accept(socket).await {
                let mut byte = [0];
                if stream.read_exact(&mut byte).await.is_ok() {
                    let _gone = stream.write_all(&byte).await;
                }
            }
        }
    });
    (port, task)
}

fn dialer() -> Dialer {
    Dialer {
        tls: true,
        trust_file: Some(file("ca.pem")),
        insecure: false,
        verify_hostname: true,
        auth: auth::from_plugin(None, None).unwrap(),
        deadline: Duration::from_secs(20),
    }
}

async fn echo(dialer: &Dialer, host: &str, port: u16) -> Result<(), Error> {
    let mut halves = dialer.dial(&HostPort { host: host.into(), port }).await?;
    let lost = |error: std::io::Error| handshake_error("talking", &error);
    halves.writer.write_all(b"x").await.map_err(lost)?;
    halves.writer.flush().await.map_err(lost)?;
    let mut byte = [0];
    halves.reader.read_exact(&mut byte).await.map_err(lost)?;
    assert_eq!(byte, *b"x");
    Ok(())
}

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_is_taken() {
    let (port, task) = server(false).await;
    echo(&dialer(), "localhost", port).await.unwrap();
    task.abort();
}

#[tokio::test]
async fn an_unknown_authority_ends_a_start() {
    let (port, task) = server(false).await;
    let strange = Dialer { trust_file: Some(file("client.pem")), ..dialer() };
    let error = echo(&strange, "localhost", port).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(error.hint().unwrap().contains("trust file"), "{error}");
    echo(&Dialer { insecure: true, ..strange }, "localhost", port).await.unwrap();
    task.abort();
}

#[tokio::test]
async fn host_names_are_verified_unless_told_otherwise() {
    let (port, task) = server(false).await;
    let error = echo(&dialer(), "127.0.0.1", port).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(error.hint().unwrap().contains("another host name"), "{error}");
    echo(&Dialer { verify_hostname: false, ..dialer() }, "127.0.0.1", port).await.unwrap();
    // Without the name the chain is still verified.
    let strange = Dialer { verify_hostname: false, trust_file: Some(file("client.pem")), ..dialer() };
    assert_eq!(echo(&strange, "127.0.0.1", port).await.unwrap_err().kind(), ErrorKind::Authentication);
    task.abort();
}

#[tokio::test]
async fn a_client_certificate_is_shown_when_it_is_demanded() {
    let (port, task) = server(true).await;
    let error = echo(&dialer(), "localhost", port).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(error.hint().unwrap().contains("client certificate"), "{error}");
    let params = format!("tlsCertFile:{},tlsKeyFile:{}", file("client.pem").display(), file("client-key.pem").display());
    let auth: Arc<dyn Authentication> = auth::from_plugin(Some("tls"), Some(&params)).unwrap();
    echo(&Dialer { auth, ..dialer() }, "localhost", port).await.unwrap();
    task.abort();
}

#[tokio::test]
async fn a_port_without_tls_is_named_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        let _closed = socket.read_to_end(&mut rest).await;
    });
    let error = echo(&dialer(), "localhost", port).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.hint().unwrap().contains("TLS port"), "{error}");
    task.abort();
}

#[tokio::test]
async fn files_that_hold_nothing_usable_are_named() {
    let missing = Dialer { trust_file: Some("/nowhere/ca.pem".into()), ..dialer() };
    let (port, task) = server(false).await;
    assert!(echo(&missing, "localhost", port).await.unwrap_err().message().contains("`/nowhere/ca.pem`"));
    let no_certificate = Dialer { trust_file: Some(file("client-key.pem")), ..dialer() };
    assert!(echo(&no_certificate, "localhost", port).await.unwrap_err().message().contains("holds no certificate"));
    task.abort();
}
