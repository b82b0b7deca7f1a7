//! Which requests the servers of the benchmark get. The generator is that of `--rehearse`.

use std::net::SocketAddrV4;
use std::time::Duration;

use graceinit::tools::rehearse::answer::Want;
use graceinit::tools::rehearse::load::{self, Keep, Load, Request};

use crate::support::Outcome;

/// Which requests there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mix {
    /// Handlers that take 5 to 300 ms.
    Short,
    /// Handlers that take 5 to 35 ms.
    Quick,
    /// Besides them, one in thirty a stream of 3 s, a piece each [`PIECE`], and one in a hundred a
    /// long poll of 10 s.
    Full,
    /// One in ten is a stream of 1 s.
    Pieces,
    /// One in ten takes 5 s to its first byte.
    Slow,
    /// One in ten is a stream of 6 s with a piece each [`TOKEN`], as a model answers that thinks.
    Tokens,
}

/// How often a piece of a stream comes.
pub(super) const PIECE: Duration = Duration::from_millis(250);
/// How often a token comes.
const TOKEN: Duration = Duration::from_secs(3);

impl Mix {
    /// The handler's time is part of the path, the number makes each answer unlike all others.
    fn request(self, to: SocketAddrV4, method: &'static str, number: u64) -> Request {
        let dice = scatter(number);
        let kind = dice % 300;
        let (kind, ms) = match self {
            Mix::Full if kind < 10 => ("stream", 3000),
            Mix::Full if kind < 13 => ("poll", 10_000),
            Mix::Pieces if kind < 30 => ("stream", 1000),
            Mix::Slow if kind < 30 => ("sleep", 5000),
            Mix::Tokens if kind < 30 => ("tokens", 6000),
            Mix::Quick => ("sleep", 5 + (dice >> 32) % 31),
            Mix::Short | Mix::Full | Mix::Pieces | Mix::Slow | Mix::Tokens => {
                ("sleep", 5 + (dice >> 32) % 296)
            }
        };
        let path = format!("/{kind}/{ms}/{number}");
        let want = Want::Body(expected(&path));
        Request { to: to.into(), method, path, own: Duration::from_millis(ms), want }
    }
}

/// The body that every server of these tests answers with.
pub(super) fn expected(path: &str) -> Vec<u8> {
    let mut parts = path.split('/').skip(1);
    let (kind, ms) = (parts.next(), parts.next().and_then(|ms| ms.parse::<u128>().ok()));
    let pause = match kind {
        Some("stream") => Some(PIECE),
        Some("tokens") => Some(TOKEN),
        _ => None,
    };
    let pieces = pause.map_or(0, |pause| ms.unwrap_or(0) / pause.as_millis());
    let mut body: String = (1..=pieces).map(|piece| format!("piece {piece}\n")).collect();
    body.push_str(&format!("{path} done\n"));
    body.into_bytes()
}

/// The same for each number in each run, and as good as random (splitmix64).
fn scatter(number: u64) -> u64 {
    let z = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// The balancer.
    pub(crate) to: SocketAddrV4,
    /// Requests per second.
    pub(crate) rate: u32,
    pub(crate) mix: Mix,
    /// Their method: balancers repeat a GET on their own, and no POST.
    pub(crate) method: &'static str,
    /// A request without a whole answer by then is given up.
    pub(crate) timeout: Duration,
    /// So many, if it is not stopped before.
    pub(crate) limit: u64,
    /// Connections are used again.
    pub(crate) keep_alive: bool,
}

/// Begins to send.
pub(crate) fn start(plan: Plan) -> Outcome<Load> {
    let Plan { to, rate, mix, method, timeout, limit, keep_alive } = plan;
    let keep = if keep_alive { Keep::All } else { Keep::None };
    let requests = Box::new(move |number| mix.request(to, method, number));
    Ok(Load::start(load::Plan { requests, rate, timeout, limit, keep, records: 0 })?)
}
