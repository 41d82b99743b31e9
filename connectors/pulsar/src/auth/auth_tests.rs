#![allow(clippy::unwrap_used)]

use super::*;
use std::io::Write;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn data(auth: &AuthData) -> &str {
    std::str::from_utf8(auth.data.as_ref().unwrap()).unwrap()
}

fn problem(plugin: &str, params: &str) -> Problem {
    from_plugin(Some(plugin), Some(params)).err().unwrap()
}

#[tokio::test]
async fn a_token_comes_in_every_form() {
    let plugin = Some("org.apache.pulsar.client.impl.auth.AuthenticationToken");
    for params in ["token:abc.def", "abc.def", r#"{"token":"abc.def"}"#, " token: abc.def "] {
        let auth = from_plugin(plugin, Some(params)).unwrap().credentials().await.unwrap();
        assert_eq!((auth.method, data(&auth)), ("token", "abc.def"), "{params}");
    }
}

#[tokio::test]
async fn a_token_file_is_read_anew_each_time() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"first\n").unwrap();
    let auth = from_plugin(Some("token"), Some(&format!("file://{}", file.path().display()))).unwrap();
    assert_eq!(data(&auth.credentials().await.unwrap()), "first");
    std::fs::write(file.path(), "  second ").unwrap();
    assert_eq!(data(&auth.credentials().await.unwrap()), "second");
    drop(file);
    let error = auth.credentials().await.unwrap_err();
    assert_eq!(error.kind(), connector_sdk::ErrorKind::Authentication);
    assert!(error.message().starts_with("reading the token file"), "{error}");
}

#[tokio::test]
async fn basic_joins_user_and_password() {
    let plugin = Some("org.apache.pulsar.client.impl.auth.AuthenticationBasic");
    let auth = from_plugin(plugin, Some(r#"{"userId":"ann","password":"p:w"}"#)).unwrap().credentials().await.unwrap();
    assert_eq!((auth.method, data(&auth)), ("basic", "ann:p:w"));
}

#[tokio::test]
async fn tls_shows_its_certificate_and_sends_nothing() {
    for params in ["tlsCertFile:/a/cert.pem,tlsKeyFile:/a/key.pem", r#"{"tlsCertFile":"file:///a/cert.pem","tlsKeyFile":"/a/key.pem"}"#] {
        let auth = from_plugin(Some("org.apache.pulsar.client.impl.auth.AuthenticationTls"), Some(params)).unwrap();
        let files = ClientCertificate { certificate: "/a/cert.pem".into(), key: "/a/key.pem".into() };
        assert_eq!(auth.client_certificate(), Some(&files));
        assert_eq!(auth.credentials().await.unwrap(), AuthData { method: "tls", data: None });
    }
}

#[test]
fn what_cannot_be_used_is_said_without_the_secret() {
    assert!(problem("org.example.Kerberos", "").cause.contains("org.example.Kerberos"));
    assert!(problem("token", "").cause.contains("missing"));
    assert!(problem("token", "file:relative/path").cause.contains("absolute"));
    assert!(problem("basic", r#"{"userId":"ann"}"#).cause.contains("`password`"));
    assert!(!problem("basic", "hunter2").to_string().contains("hunter2"));
    assert!(problem("tls", "tlsCertFile:/a").cause.contains("`tlsKeyFile`"));
    assert!(problem("org.apache.pulsar.client.impl.auth.AuthenticationKeyStoreTls", "").hint.unwrap().contains("PEM"));
    assert!(problem("oauth2", r#"{"issuerUrl":"https://i","privateKey":"/key.json"}"#).cause.contains("`privateKey`"));
    assert!(problem("oauth2", r#"{"type":"password","issuerUrl":"https://i"}"#).cause.contains("password"));
    assert!(!format!("{:?}", AuthData { method: "token", data: Some("abc".into()) }).contains("abc"));
}

/// An issuer that grants tokens `t1`, `t2`, ... of a given life, and refuses the client `evil`.
async fn issuer(expires_in: u64) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let base = url.clone();
    let task = tokio::spawn(async move {
        let mut granted = 0;
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !complete(&request) {
                let mut part = [0; 2_048];
                let size = socket.read(&mut part).await.unwrap();
                assert!(size > 0, "the request ended early");
                request.extend_from_slice(&part[..size]);
            }
            let request = String::from_utf8(request).unwrap();
            let (status, body) = if request.starts_with("GET /.well-known/openid-configuration ") {
                ("200 OK", format!(r#"{{"token_endpoint":"{base}/token"}}"#))
            } else if request.contains("client_id=evil") {
                ("401 Unauthorized", r#"{"error":"invalid_client","error_description":"no such client"}"#.to_owned())
            } else {
                assert!(request.contains("grant_type=client_credentials"), "{request}");
                assert!(request.contains("client_secret=s3cret"), "{request}");
                assert!(request.contains("audience=urn%3Apulsar"), "{request}");
                granted += 1;
                ("200 OK", format!(r#"{{"access_token":"t{granted}","expires_in":{expires_in}}}"#))
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, task)
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |size| size.trim().parse().unwrap());
    body.len() >= length
}

fn oauth2(issuer: &str, client: &str) -> Arc<dyn Authentication> {
    use base64::Engine;
    let key = format!(r#"{{"type":"client_credentials","client_id":"{client}","client_secret":"s3cret"}}"#);
    let key = base64::engine::general_purpose::STANDARD.encode(key);
    let params = serde_json::json!({
        "type": "client_credentials", "issuerUrl": issuer, "audience": "urn:pulsar",
        "privateKey": format!("data:application/json;base64,{key}"), "connectTimeout": "PT5S", "readTimeout": "PT1M",
    });
    let plugin = "org.apache.pulsar.client.impl.auth.oauth2.AuthenticationOAuth2";
    from_plugin(Some(plugin), Some(&params.to_string())).unwrap()
}

#[tokio::test]
async fn oauth2_keeps_a_token_while_it_lives() {
    let (url, task) = issuer(3_600).await;
    let auth = oauth2(&url, "me");
    let (first, second) = tokio::join!(auth.credentials(), auth.credentials());
    assert_eq!(data(&first.unwrap()), "t1");
    assert_eq!(data(&second.unwrap()), "t1", "who comes second takes the first one's token");
    task.abort();
}

#[tokio::test]
async fn oauth2_asks_again_when_a_token_has_expired() {
    let (url, task) = issuer(0).await;
    let auth = oauth2(&url, "me");
    assert_eq!(data(&auth.credentials().await.unwrap()), "t1");
    assert_eq!(data(&auth.credentials().await.unwrap()), "t2");
    task.abort();
}

#[tokio::test]
async fn oauth2_passes_on_the_issuers_reason() {
    let (url, task) = issuer(60).await;
    let error = oauth2(&url, "evil").credentials().await.unwrap_err();
    assert_eq!(error.kind(), connector_sdk::ErrorKind::Authentication);
    assert!(error.message().contains("invalid_client no such client"), "{error}");
    task.abort();
}
