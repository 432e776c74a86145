//! A shard with real sockets and without HTTP and Luau: what the epoll below tokio's, the buffers and the turns promise.

use super::Local;
use crate::websocket::ceiling::{Ceiling, MAX_QUEUED};
use crate::websocket::session::{Relay, Wanted};
use kernel::{
    Body, Cx, Error, Exit, Factory, Frame, Host, Hosts, Kind, Mail, Message, Next, Node, Pid, Process, Shard, Spawn,
    SpawnBody, Topic,
};
use manifest::RelayOptions;
use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalOptions;
use tokio::sync::Notify;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

struct NoSeeds;

impl Factory for NoSeeds {
    fn create(&mut self, _: Box<dyn Any + Send>, _: Pid) -> Result<Box<dyn Process>, Error> {
        Err(Error::new(Kind::Internal, "no seeds here"))
    }
}

/// A topic and its data.
type Seen = (String, Vec<u8>);

/// A target that notes topics and data, and sends each message back.
#[derive(Clone, Default)]
struct Echo {
    seen: Rc<RefCell<Vec<Seen>>>,
    news: Rc<Notify>,
}

impl Process for Echo {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        while let Some((mail, claim)) = cx.next_mail() {
            let Mail::Message(message) = mail else { continue };
            cx.received(message.from, claim);
            let mut data = Vec::new();
            if let Body::Frame(Frame { binary, bytes, .. }) = message.body {
                data = bytes.to_vec();
                let body = Body::Frame(Frame { binary, bytes, relayed: None });
                let _gone = cx.send(message.from, Message { topic: Topic::fixed("ws.send"), from: cx.pid(), body });
            }
            self.seen.borrow_mut().push((message.topic.to_string(), data));
            self.news.notify_one();
        }
        Next::Wait
    }
}

/// Uses up every slice.
struct Spinner;

impl Process for Spinner {
    fn step(&mut self, _: &mut Cx<'_>) -> Next {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
        Next::Preempted
    }
}

struct Stage {
    local: Rc<Local>,
    echo: Echo,
    target: Pid,
}

/// Runs a test on a shard's thread.
fn on_a_shard<F: Future>(test: impl FnOnce(Rc<Stage>) -> F) {
    on_a_shard_under(MAX_QUEUED, test);
}

fn on_a_shard_under<F: Future>(limit: u64, test: impl FnOnce(Rc<Stage>) -> F) {
    let options = LocalOptions::default();
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build_local(options).expect("a runtime");
    tokio.block_on(async {
        let node = Node::new(9, 1, Hosts::new(vec![Host::new("app:processes"), Host::new("app:gateway")]));
        let shard = Shard::new(node, 0, Box::new(NoSeeds));
        let local = Local::new(shard, 0, Instant::now(), Ceiling::new(limit, 1)).expect("an epoll");
        let echo = Echo::default();
        let target = spawn(&local, Box::new(echo.clone()));
        let turns = local.clone();
        tokio::task::spawn_local(async move { turns.run().await });
        let stage = Rc::new(Stage { local, echo, target });
        timeout(PATIENCE, test(stage)).await.expect("done in time");
    });
}

fn spawn(local: &Local, process: Box<dyn Process>) -> Pid {
    local.with(|shard, _| {
        let host = shard.node().hosts.find("app:processes").expect("a host");
        shard.spawn(Spawn { host, body: SpawnBody::Here(process), monitored: false, linked: false }).expect("room")
    })
}

impl Stage {
    /// A client whose handshake is done.
    async fn connect(&self) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        client.set_nodelay(true).expect("a socket");
        let (accepted, _) = listener.accept().await.expect("accepted");
        let socket = accepted.into_std().expect("a socket");
        let wanted = Wanted { target: self.target, topic: Topic::from("ws.message"), heartbeat: None, metadata: None };
        let options = RelayOptions { max_message: 64 << 20, send_buffer: 64 << 20, ..RelayOptions::default() };
        let relay = Arc::new(Relay { entry: "app:ws".to_owned(), options });
        self.local.with(|shard, sockets| {
            let host = shard.node().hosts.find("app:gateway").expect("a host");
            let pending = sockets.begin(shard, host, wanted, None, relay, Box::new(())).expect("a target");
            sockets.open(shard, pending, OwnedFd::from(socket).into(), &mut []);
        });
        client
    }

    /// Waits until so many messages of a topic have come, and gives their data.
    async fn seen(&self, topic: &str, count: usize) -> Vec<Vec<u8>> {
        loop {
            let found: Vec<Vec<u8>> = self
                .echo
                .seen
                .borrow()
                .iter()
                .filter(|(seen, _)| seen == topic)
                .map(|(_, data)| data.clone())
                .collect();
            if found.len() >= count {
                return found;
            }
            self.echo.news.notified().await;
        }
    }
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode, 0x80 | 127];
    match payload.len() {
        short @ 0..126 => bytes[1] = 0x80 | short as u8,
        middle @ 126..65536 => {
            bytes[1] = 0x80 | 126;
            bytes.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => bytes.extend_from_slice(&(long as u64).to_be_bytes()),
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// Reads one frame: opcode and payload.
async fn read_frame(client: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    client.read_exact(&mut head).await.expect("a frame");
    let length = match head[1] {
        126 => u64::from(client.read_u16().await.expect("a length")),
        127 => client.read_u64().await.expect("a length"),
        short => u64::from(short),
    };
    let mut payload = vec![0; length as usize];
    client.read_exact(&mut payload).await.expect("a payload");
    (head[0] & 0xf, payload)
}

#[test]
fn bytes_and_a_fin_at_once_are_both_noticed() {
    on_a_shard(|stage| async move {
        for round in 1..=200 {
            let mut client = stage.connect().await;
            client.write_all(&frame(1, b"x")).await.expect("written");
            assert_eq!(read_frame(&mut client).await, (1, b"x".to_vec()));
            // The shard comes to rest, so that nothing but the socket wakes it.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            // An unfinished message, so that nothing is answered.
            client.write_all(&[0x01, 0x84, 0, 0, 0, 0, b'h', b'a', b'l', b'f']).await.expect("written");
            drop(client);
            stage.seen("ws.leave", round).await;
        }
        stage.local.with(|_, sockets| assert!(sockets.is_empty(), "every socket is closed"));
    });
}

#[test]
fn a_client_that_sends_faster_than_its_target_receives_loses_nothing() {
    on_a_shard(|stage| async move {
        let mut client = stage.connect().await;
        let (mut reader, mut writer) = client.split();
        let bytes: Vec<u8> = (0..20_000).flat_map(|n| frame(1, format!("{n:0100}").as_bytes())).collect();
        let expected: usize = 20_000 * 102;
        let write = async { writer.write_all(&bytes).await.expect("written") };
        let read = async {
            let mut echoed = vec![0; expected];
            reader.read_exact(&mut echoed).await.expect("all came back");
        };
        tokio::join!(write, read);
        let seen = stage.seen("ws.message", 20_000).await;
        assert!(seen.iter().enumerate().all(|(n, data)| *data == format!("{n:0100}").as_bytes()), "in order");
    });
}

#[test]
fn a_big_message_comes_back_whole_through_a_socket_that_takes_it_piece_by_piece() {
    on_a_shard(|stage| async move {
        let mut client = stage.connect().await;
        let payload: Vec<u8> = (0..16_000_000u32).map(|n| (n % 251) as u8).collect();
        client.write_all(&frame(2, &payload)).await.expect("written");
        stage.seen("ws.message", 1).await;
        let (opcode, echoed) = read_frame(&mut client).await;
        assert!(opcode == 2 && echoed == payload);
    });
}

/// What this thread has computed, which is where the shard and its client run: what else the machine does is no delay.
fn computed() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn spinning_processes_delay_no_connection() {
    on_a_shard(|stage| async move {
        for _ in 0..8 {
            spawn(&stage.local, Box::new(Spinner));
        }
        let mut client = stage.connect().await;
        let mut worst = Duration::ZERO;
        for n in 0..50 {
            let text = format!("{n}");
            let began = computed();
            client.write_all(&frame(1, text.as_bytes())).await.expect("written");
            assert_eq!(read_frame(&mut client).await, (1, text.into_bytes()));
            worst = worst.max(computed() - began);
        }
        assert!(worst < Duration::from_millis(50), "{worst:?}");
    });
}

#[test]
fn after_a_fault_the_close_frame_is_swallowed_by_no_reset() {
    on_a_shard(|stage| async move {
        let mut client = stage.connect().await;
        let (mut reader, mut writer) = client.split();
        let bytes = [frame(3, b"bad"), frame(2, &vec![0; 3_000_000])].concat();
        let write = async { writer.write_all(&bytes).await };
        let read = async {
            let mut got = Vec::new();
            reader.read_to_end(&mut got).await.expect("a FIN and no reset");
            got
        };
        let (written, got) = tokio::join!(write, read);
        written.expect("the server took all of it");
        assert_eq!(got[..4], [0x88, 16, 0x03, 0xea]);
        drop(client);
        stage.seen("ws.leave", 1).await;
    });
}

#[test]
fn after_both_close_frames_the_server_waits_for_nothing() {
    on_a_shard(|stage| async move {
        let mut client = stage.connect().await;
        client.write_all(&frame(8, &[])).await.expect("written");
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.expect("a FIN and no reset");
        assert_eq!(got, b"\x88\x00");
        stage.local.with(|_, sockets| assert!(sockets.is_empty()));
    });
}

#[test]
fn a_connection_whose_process_is_terminated_is_cut_without_a_close_frame() {
    on_a_shard(|stage| async move {
        let mut client = stage.connect().await;
        client.write_all(&frame(1, b"x")).await.expect("written");
        assert_eq!(read_frame(&mut client).await, (1, b"x".to_vec()));
        let pid = stage.local.with(|shard, sockets| {
            let pid = sockets.pids().next().expect("a connection");
            shard.end(pid, Exit::terminated(None));
            pid
        });
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("a FIN");
        assert!(rest.is_empty());
        stage.local.with(|shard, sockets| assert!(sockets.is_empty() && !shard.node().is_alive(pid)));
    });
}

#[test]
fn draining_closes_one_connection_after_the_other() {
    on_a_shard(|stage| async move {
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(stage.connect().await);
        }
        stage.seen("ws.join", 10).await;
        let began = Instant::now();
        stage.local.with(|shard, sockets| {
            let host = shard.node().hosts.find("app:gateway").expect("a host");
            sockets.drain(shard.now(), host, Duration::from_millis(500));
        });
        for client in &mut clients {
            let (opcode, payload) = read_frame(client).await;
            assert_eq!((opcode, &payload[..2]), (8, &1012u16.to_be_bytes()[..]));
        }
        assert!(began.elapsed() > Duration::from_millis(300), "{:?}", began.elapsed());
    });
}

impl Stage {
    /// Sends a frame from the target to a client, as soon as there is room in its mailbox.
    async fn send(&self, client: Pid, bytes: impl Fn() -> bytes::Bytes) {
        let sent = || {
            let body = Body::Frame(Frame { binary: true, bytes: bytes(), relayed: None });
            let message = Message { topic: Topic::fixed("ws.send"), from: self.target, body };
            self.local.with(|shard, _| {
                shard.enter(self.target, |cx| (Next::Wait, cx.send(client, message).is_ok())) == Some(true)
            })
        };
        while !sent() {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the shard's connections hold so much.
    async fn until_held(&self, is_right: impl Fn(u64) -> bool) -> u64 {
        loop {
            let held = self.local.ceiling().held().bytes;
            if is_right(held) {
                return held;
            }
            tokio::task::yield_now().await;
        }
    }

    /// A client and its PID.
    async fn connect_known(&self) -> (TcpStream, Pid) {
        let known: Vec<Pid> = self.local.with(|_, sockets| sockets.pids().collect());
        let client = self.connect().await;
        let pid = self.local.with(|_, sockets| sockets.pids().find(|pid| !known.contains(pid)));
        (client, pid.expect("a connection"))
    }
}

#[test]
fn when_all_hold_too_much_the_slowest_client_goes_first_and_what_is_held_returns_to_nothing() {
    on_a_shard_under(75 << 20, |stage| async move {
        let big = || bytes::Bytes::from(vec![0; 15 << 20]);
        let (slow, first) = stage.connect_known().await;
        let (mut late, second) = stage.connect_known().await;
        for _ in 0..4 {
            stage.send(first, &big).await;
        }
        let alone = stage.until_held(|held| held > 40 << 20).await;
        for _ in 0..4 {
            stage.send(second, &big).await;
        }
        stage.seen("ws.leave", 1).await;
        stage.local.with(|shard, _| {
            assert!(!shard.node().is_alive(first) && shard.node().is_alive(second), "the one that stalled first");
        });
        assert!(alone <= 75 << 20, "one alone was not too much");
        assert_eq!(stage.local.ceiling().held().evicted, 1);
        for _ in 0..4 {
            assert_eq!(read_frame(&mut late).await.1.len(), 15 << 20);
        }
        stage.until_held(|held| held == 0).await;
        drop(slow);
    });
}

#[test]
fn a_big_frame_for_many_clients_that_read_counts_nowhere() {
    on_a_shard_under(4 << 20, |stage| async move {
        let big = bytes::Bytes::from(vec![0; 100 << 10]);
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(stage.connect_known().await);
        }
        for (_, pid) in &clients {
            stage.send(*pid, || big.clone()).await;
        }
        for (client, _) in &mut clients {
            assert_eq!(read_frame(client).await.1.len(), 100 << 10);
        }
        assert_eq!(stage.local.ceiling().held().evicted, 0);
    });
}

#[test]
fn a_large_payload_for_many_clients_that_do_not_read_is_counted_once() {
    on_a_shard_under(64 << 20, |stage| async move {
        let big = bytes::Bytes::from(vec![0; 15 << 20]);
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(stage.connect_known().await);
        }
        for (_, pid) in &clients {
            stage.send(*pid, || big.clone()).await;
        }
        let held = stage.until_held(|held| held >= 15 << 20).await;
        assert!(held < 16 << 20, "{held}");
        assert_eq!(stage.local.ceiling().held().evicted, 0);
        for (client, _) in &mut clients {
            assert_eq!(read_frame(client).await.1.len(), 15 << 20);
        }
        stage.until_held(|held| held == 0).await;
    });
}
