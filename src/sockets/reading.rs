//! A connection as sock_diag tells of it, in the words of the rules.

use crate::machine::connections::{Info, Reading, State};
use crate::sys::sockdiag::Socket;

/// The state of this number (enum tcp state of netinet/tcp.h); `None`: it is no connection, or none any
/// more. `held`: a process has it open.
pub(super) fn state(number: u8, held: bool) -> Option<State> {
    match number {
        1 => Some(State::Established),
        3 => Some(State::SynReceived),
        4 => Some(State::FinWait1),
        // Closed by the app: it waits for the client's FIN alone.
        5 => held.then_some(State::FinWait2),
        8 => Some(State::CloseWait),
        9 => Some(State::LastAck),
        11 => Some(State::Closing),
        _ => None,
    }
}

/// What sock_diag tells of a connection; `None`: the socket is none, or none any more.
pub fn reading(socket: &Socket) -> Option<Reading> {
    let held = socket.inode != 0;
    let info = socket.info.map(|info| Info {
        sent: info.last_data_sent,
        received: info.last_data_received,
        acknowledged: info.last_ack_received,
        rtt: info.rtt,
        retransmits: info.retransmits,
        probes: info.probes,
        backoff: info.backoff,
        bytes_received: info.bytes_received,
        bytes_acknowledged: info.bytes_acknowledged,
        segments_in: info.segments_in,
        segments_out: info.segments_out,
    });
    Some(Reading {
        key: socket.cookie,
        peer: socket.peer,
        port: socket.port,
        state: state(socket.state, held)?,
        held,
        unread: socket.unread,
        unsent: socket.unsent,
        info,
    })
}
