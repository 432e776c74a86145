use super::*;
use rcgen::generate_simple_self_signed;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};
use std::io::{Read, Write};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A client of rustls and an engine, with the bytes between them in the test's hands.
struct Pair {
    client: ClientConnection,
    engine: Engine,
    /// What the engine has decrypted.
    plain: Vec<u8>,
    /// How many bytes reach the engine at once.
    piece: usize,
}

impl Pair {
    fn new(version: &'static SupportedProtocolVersion, piece: usize) -> Pair {
        let made = generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a server");
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a root");
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let mut pair = Pair {
            client: ClientConnection::new(Arc::new(client), name).expect("a client"),
            engine: Engine::new(Arc::new(server)).expect("an engine"),
            plain: Vec::new(),
            piece,
        };
        while pair.client.is_handshaking() || pair.engine.is_handshaking() {
            pair.client_says().expect("a handshake");
            pair.engine_says();
        }
        pair.engine_says();
        pair
    }

    /// What the client has to say.
    fn said(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut said).expect("memory");
        }
        said
    }

    fn client_says(&mut self) -> Result<(), Error> {
        let said = self.said();
        said.chunks(self.piece).try_for_each(|piece| self.take(piece))
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), Error> {
        let mut input = vec![0; self.engine.held() + piece.len()];
        let held = self.engine.restore(&mut input);
        input[held..].copy_from_slice(piece);
        self.engine.take(&mut input, &mut self.plain)
    }

    /// What the client reads of what the engine has to say.
    fn engine_says(&mut self) -> Vec<u8> {
        let mut read = Vec::new();
        while !self.engine.unsent().is_empty() {
            let sent = self.client.read_tls(&mut self.engine.unsent()).expect("memory");
            self.engine.advance(sent);
            let state = self.client.process_new_packets().expect("what the engine says is right");
            let start = read.len();
            read.resize(start + state.plaintext_bytes_to_read(), 0);
            self.client.reader().read_exact(&mut read[start..]).expect("what is there");
        }
        read
    }
}

fn numbered(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index % 251) as u8).collect()
}

#[test]
fn what_comes_in_any_pieces_is_what_was_sent() {
    for version in VERSIONS {
        for piece in [1, 2, 3, 7, 100, 5_000, 16_384, 100_000] {
            let mut pair = Pair::new(version, piece);
            for len in [0, 1, 16_383, 16_384, 16_385, 40_000] {
                let sent = numbered(len);
                pair.client.writer().write_all(&sent).expect("room");
                pair.client_says().expect("traffic");
                assert_eq!(std::mem::take(&mut pair.plain), sent, "{version:?}, {piece} bytes at a time");
                assert_eq!(pair.engine.held(), 0);
            }
        }
    }
}

#[test]
fn what_is_sealed_is_what_the_client_reads() {
    for version in VERSIONS {
        let mut pair = Pair::new(version, 1_000);
        for len in [0, 1, 16_384, 16_385, 40_000] {
            pair.engine.seal(&numbered(len)).expect("sealed");
            assert_eq!(pair.engine_says(), numbered(len));
        }
    }
}

#[test]
fn all_that_came_is_handed_out_at_once_and_an_idle_connection_holds_nothing() {
    for version in VERSIONS {
        let mut pair = Pair::new(version, usize::MAX);
        for number in 0..100_u8 {
            pair.client.writer().write_all(&[number]).expect("room");
        }
        pair.client_says().expect("traffic");
        assert_eq!(pair.plain, (0..100).collect::<Vec<u8>>());
        assert_eq!((pair.engine.held.capacity(), pair.engine.unsent.capacity()), (0, 0));
    }
}

#[test]
fn a_record_that_is_not_whole_keeps_nobody_from_writing() {
    for version in VERSIONS {
        let mut pair = Pair::new(version, usize::MAX);
        pair.client.writer().write_all(b"half of this").expect("room");
        let said = pair.said();
        let (one, two) = said.split_at(said.len() / 2);
        pair.take(one).expect("half");
        pair.engine.seal(b"answer").expect("sealed");
        assert_eq!(pair.engine_says(), b"answer");
        pair.take(two).expect("the rest");
        assert_eq!(pair.plain, b"half of this");
    }
}

#[test]
fn a_client_may_change_its_keys_and_ask_for_others_of_ours() {
    let mut pair = Pair::new(&TLS13, 10);
    for number in 0..20_u8 {
        pair.client.refresh_traffic_keys().expect("TLS 1.3");
        pair.client.writer().write_all(&[number]).expect("room");
        pair.client_says().expect("traffic");
        // Our own keys change with what is written next.
        pair.engine.seal(&[number]).expect("sealed");
        assert_eq!(pair.engine_says(), [number]);
    }
    assert_eq!(pair.plain, (0..20).collect::<Vec<u8>>());
}

#[test]
fn a_client_that_does_nothing_but_change_its_keys_is_refused_before_the_answers_pile_up() {
    let mut pair = Pair::new(&TLS13, usize::MAX);
    let refused = (0..1_000).any(|_| {
        pair.client.refresh_traffic_keys().expect("TLS 1.3");
        pair.client_says().is_err()
    });
    assert!(refused);
    assert!(pair.engine.unsent().len() <= UNSENT_MAX);
}

#[test]
fn a_forged_record_is_an_error_and_the_client_is_told() {
    for version in VERSIONS {
        let mut pair = Pair::new(version, usize::MAX);
        pair.client.writer().write_all(b"genuine").expect("room");
        let mut said = pair.said();
        if let Some(last) = said.last_mut() {
            *last ^= 1;
        }
        pair.take(&said).expect_err("forged");
        assert!(pair.plain.is_empty());
        let unsent = pair.engine.unsent().to_vec();
        pair.client.read_tls(&mut &unsent[..]).expect("memory");
        let error = pair.client.process_new_packets().expect_err("an alert");
        assert!(matches!(error, Error::AlertReceived(_)), "{error}");
    }
}

#[test]
fn both_sides_can_say_that_they_send_no_more() {
    for version in VERSIONS {
        let mut pair = Pair::new(version, 1);
        pair.client.writer().write_all(b"last words").expect("room");
        pair.client.send_close_notify();
        pair.client_says().expect("a farewell");
        assert!(pair.engine.has_ended());
        assert_eq!(pair.plain, b"last words");
        pair.engine.seal(b"ours").expect("the other direction is open");
        pair.engine.close().expect("a farewell");
        pair.engine.close().expect("said once");
        assert_eq!(pair.engine_says(), b"ours");
        assert_eq!(pair.client.reader().read(&mut [0; 10]).expect("a farewell, not a torn connection"), 0);
    }
}

#[test]
fn whatever_comes_instead_of_a_record_is_an_error_or_awaits_more_and_holds_little() {
    for version in VERSIONS {
        for seed in 0..200_u32 {
            let mut pair = Pair::new(version, usize::MAX);
            let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
            let mut noise: Vec<u8> = (0..30_000)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 17;
                    state ^= state << 5;
                    state as u8
                })
                .collect();
            // Half of them look like records at first.
            if seed % 2 == 0 {
                noise[..3].copy_from_slice(&[20 + (seed % 8) as u8, 3, 3]);
            }
            let _error_or_more = noise.chunks(1_000).try_for_each(|piece| pair.take(piece));
            assert!(pair.plain.is_empty());
            assert!(pair.engine.held() <= HELD_MAX);
        }
    }
}
