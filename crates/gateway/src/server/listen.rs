//! One address, one listening socket for each shard.

use super::limits::UNSENT;
use manifest::{BindAddr, BindHost};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

/// Connections that wait to be accepted, for each shard; the kernel may allow less.
const BACKLOG: i32 = 4096;

/// Listens on an address with one socket for each shard, and says which port it became.
///
/// The first socket is bound alone, so that a port in use is an error although another server may share it; then it
/// admits the rest of its group. None listens before all are bound.
pub fn listen(addr: &BindAddr, shards: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    let first = match &addr.host {
        BindHost::Any => bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), addr.port), false).or_else(|error| {
            // A machine without IPv6.
            if error.kind() == io::ErrorKind::AddrInUse {
                return Err(error);
            }
            bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), addr.port), false)
        })?,
        BindHost::Ip(ip) => bind(SocketAddr::new(*ip, addr.port), false)?,
        BindHost::Name(name) => {
            let mut found: Vec<SocketAddr> = (name.as_str(), addr.port).to_socket_addrs()?.collect();
            found.sort_by_key(|addr| !matches!(addr.ip(), IpAddr::V4(_)));
            let not_found = || io::Error::new(io::ErrorKind::NotFound, format!("{name} has no address"));
            bind(*found.first().ok_or_else(not_found)?, false)?
        }
    };
    first.set_reuse_port(true)?;
    let resolved = first.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an internet address"))?;
    let mut sockets = vec![first];
    for _ in 1..shards {
        sockets.push(bind(resolved, true)?);
    }
    for socket in &sockets {
        socket.listen(BACKLOG)?;
    }
    Ok((resolved, sockets.into_iter().map(TcpListener::from).collect()))
}

fn bind(addr: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier server that are still closing do not hold the port.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    // Accepted connections inherit it. A kernel without it only keeps more for clients that do not read.
    let _best_effort = socket.set_tcp_notsent_lowat(UNSENT);
    // This one, too. Frames are small and written once a turn: none waits for another.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Write as _};
    use std::net::TcpStream;

    fn local(port: u16) -> BindAddr {
        BindAddr { host: BindHost::Ip(Ipv4Addr::LOCALHOST.into()), port }
    }

    #[test]
    fn port_0_becomes_one_port_for_all_shards() {
        let (addr, listeners) = listen(&local(0), 3).expect("a free port");
        assert_ne!(addr.port(), 0);
        for listener in &listeners {
            assert_eq!(listener.local_addr().expect("an address"), addr);
        }
        TcpStream::connect(addr).expect("somebody listens");
    }

    #[test]
    fn a_port_in_use_is_an_error_even_if_its_holder_would_share_it() {
        let (addr, _held) = listen(&local(0), 2).expect("a free port");
        let error = listen(&local(addr.port()), 2).expect_err("in use");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn the_kernel_keeps_little_for_a_client_that_does_not_read() {
        let (addr, listeners) = listen(&local(0), 1).expect("a free port");
        let client = TcpStream::connect(addr).expect("somebody listens");
        listeners[0].set_nonblocking(false).expect("a socket");
        let (mut accepted, _) = listeners[0].accept().expect("a client");
        accepted.set_nonblocking(true).expect("a socket");
        // What the client's own end takes, which its program decides, is counted apart: it is what has been sent.
        let mut taken = 0;
        while let Ok(bytes) = accepted.write(&[0; 4096]) {
            taken += bytes;
        }
        let unread = Socket::from(client);
        let received = unread.recv_buffer_size().expect("a socket");
        assert!(taken <= received + 2 * UNSENT as usize, "{taken} bytes, of which the client took {received} at most");
    }

    #[test]
    fn a_connection_sends_at_once_what_it_is_given() {
        let (addr, listeners) = listen(&local(0), 2).expect("a free port");
        let _clients: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(addr).expect("connected")).collect();
        for listener in &listeners {
            let (accepted, _) = listener.accept().expect("of 64 connections one came here");
            assert!(accepted.nodelay().expect("a socket"));
        }
    }

    #[test]
    fn every_listener_of_the_group_is_used() {
        let (addr, listeners) = listen(&local(0), 2).expect("a free port");
        let _clients: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(addr).expect("connected")).collect();
        for listener in &listeners {
            assert!(listener.accept().is_ok(), "of 64 connections one came here");
        }
    }
}
