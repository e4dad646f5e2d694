//! Peers that refuse, hang up, speak another version, or are not there: one clear error and an exit code each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use common::{Server, digits, fake_server, hushnet, model, text};
use protocol::channel::{Kind, TcpOptions, accept, connect};
use protocol::{ProtocolError, RefusalCode};

/// Classifies one digit with a server.
fn infer(address: &str, more: &[&str]) -> common::Run {
    let one = digits().join("digit_3_a.png");
    hushnet(&[&["infer", text(&one), "--connect", address], more].concat())
}

#[test]
fn logits_from_a_server_of_labels_are_refused() {
    let server = Server::start(&[]);
    infer(&server.address, &["--logits"]).failure(5, &["labels only", "--output logits"]);
    infer(&server.address, &[]).success();
    let (_, log) = server.stop();
    assert!(log.contains("WARN") && log.contains("labels only"), "{log}");
}

#[test]
fn quotas_and_bundle_sizes_are_kept() {
    let server = Server::start(&["--quota", "3", "--max-images", "2"]);
    let many = |count: &str, more: &[&str]| {
        let base = ["infer", text(digits()), "--connect", &server.address, "--count", count];
        hushnet(&[&base[..], more].concat())
    };
    many("3", &[]).success();
    many("4", &[]).failure(5, &["at most 3 images"]);
    many("3", &["--bundle", "3"]).failure(5, &["1 to 2"]);
}

#[test]
fn a_full_shelf_and_a_full_house_are_refused() {
    let server = Server::start(&["--shelf", "2", "--clients", "1"]);
    let folder = tempfile::tempdir().unwrap();
    let prepare = ["prepare", "--connect", &server.address, "--pool", text(folder.path()), "--bundle", "1"];
    hushnet(&[&prepare[..], &["--count", "3"]].concat()).failure(5, &["at most 2"]);
    // What was prepared until then is of use.
    let pool = ["infer", text(digits()), "--connect", &server.address, "--pool", text(folder.path())];
    hushnet(&[&pool[..], &["--count", "2"]].concat()).success();

    let _guest = TcpStream::connect(&server.address).unwrap();
    let second = infer(&server.address, &[]);
    second.failure(5, &["already serves 1 clients"]);
}

#[test]
fn nobody_listens() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    infer(&address, &[]).failure(4, &[&address, "refused", "hushnet serve"]);
    infer("no-port-here", &[]).failure(2, &["no-port-here"]);
    infer("host.invalid:7700", &[]).failure(4, &["host.invalid"]);
}

#[test]
fn a_server_of_another_version_is_named() {
    let address = fake_server(|stream| {
        let mut channel = accept(stream, TcpOptions::default()).unwrap();
        channel.receive_up_to(Kind::Hello, 1024).unwrap();
        channel.send(Kind::Welcome, 0, &99u32.to_le_bytes()).unwrap();
        channel.flush().unwrap();
        // Until the client has seen it.
        let _ = channel.receive_up_to(Kind::Request, 1024);
    });
    infer(&address, &[]).failure(6, &["version 99", "equal releases"]);
}

#[test]
fn a_client_of_another_version_is_told() {
    let server = Server::start(&[]);
    let mut channel = connect(&server.address, TcpOptions::default()).unwrap();
    let mut hello = b"hushnet\0".to_vec();
    hello.extend(99u32.to_le_bytes());
    hello.extend([0; 32]);
    channel.send(Kind::Hello, 0, &hello).unwrap();
    match channel.receive_up_to(Kind::Welcome, 1 << 20) {
        Err(ProtocolError::Refused(refusal)) => {
            assert_eq!(refusal.code, RefusalCode::Version);
            assert!(refusal.reason.contains("version 99"), "{}", refusal.reason);
        }
        other => panic!("{other:?}"),
    }
    // The server is still there for others.
    infer(&server.address, &[]).success();
}

#[test]
fn a_peer_that_is_no_server_is_told_apart() {
    let address = fake_server(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.read(&mut [0; 64]);
    });
    infer(&address, &[]).failure(6, &["broke the protocol"]);
}

#[test]
fn a_peer_that_hangs_up_at_once() {
    let address = fake_server(drop);
    infer(&address, &[]).failure(4, &["closed the connection"]);
}

#[test]
fn a_peer_that_hangs_up_midway() {
    let server = Server::start(&[]);
    // After the handshake, in the base transfers, in the replies, and in the online stage.
    for bytes in [600, 20_000, 100_000] {
        let address = cutting_proxy(server.address.clone(), bytes);
        infer(&address, &[]).failure(4, &["closed the connection"]);
    }
    // The other side of the same: a client that vanishes.
    drop(TcpStream::connect(&server.address).unwrap());
    infer(&server.address, &[]).success();
    let (code, log) = server.stop();
    assert_eq!(code, Some(0));
    assert!(log.matches("closed the connection").count() >= 2, "{log}");
}

/// Passes on what both sides say, until the server has said so many bytes.
fn cutting_proxy(server: String, bytes: usize) -> String {
    fake_server(move |client| {
        let upstream = TcpStream::connect(server).unwrap();
        let (mut from_client, mut to_server) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
        let (from_server, mut to_client) = (upstream, client);
        let _ = std::io::copy(&mut (&from_server).take(bytes as u64), &mut to_client);
        let _ = from_server.shutdown(Shutdown::Both);
        let _ = to_client.shutdown(Shutdown::Both);
    })
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    hushnet(&["serve", text(model()), "--listen", &address]).failure(1, &[&address, "in use"]);
    hushnet(&["serve", text(model()), "--listen", "nowhere"]).failure(2, &["nowhere"]);
}
