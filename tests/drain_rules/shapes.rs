//! Shapes of traffic. The kernel sees bytes, segments and times, and so do the rules: what TLS, HTTP/2,
//! gRPC and WebSockets look like is played with records and frames of their sizes, whose content is
//! empty. A server's work is the time between a request and its answer.

use super::script::{BEGIN, Cast, Deed, END, LAG};

/// A shape, and what plays one stop of it.
pub type Shape = (&'static str, fn(&mut Cast));

const NEVER: i64 = END + 60_000;

pub const SHAPES: &[Shape] = &[
    ("http/1.1 pool, answers of 20 ms", pool_quick),
    ("http/1.1 pool, same jiffy", pool_instant),
    ("http/1.1 pool, answers of 0.2 to 1.5 s", pool_slow),
    ("http/1.1 pool, all alike", pool_alike),
    ("http/1.1, a connection each", connection_each),
    ("http/1.1 pool, never used again", pool_idle),
    ("connections made ahead", made_ahead),
    ("http/1.1, one request of 6 s", one_slow),
    ("tls 1.3, slow first request", tls13_first),
    ("tls 1.2, slow first request", tls12_first),
    ("tls 1.3 pool", tls13_pool),
    ("headers, then 3 s", headers_3s),
    ("headers, then 6 s", headers_6s),
    ("chunks 1.5 s apart", chunks),
    ("100-continue, work of 2 s", expect_continue),
    ("103 early hints, then 4 s", early_hints),
    ("three pipelined requests", pipelined),
    ("post in two segments, 20 ms", post_two_segments),
    ("download, 4 s", download),
    ("download, slow reader", download_slow),
    ("upload, 4 s", upload),
    ("upload, pauses of 0.9 s", upload_slow),
    ("websocket, client's ping 5 s", ws_client_ping),
    ("websocket, server's ping 20 s", ws_server_ping),
    ("30 websockets, pings 5 and 20 s", ws_many),
    ("websocket chat", ws_chat),
    ("events every 3 s", sse_events),
    ("events, heartbeat 15 s", sse_heartbeat),
    ("http/2 pool", h2_pool),
    ("http/2, window enlarged last", h2_window),
    ("http/2, pings 17/17", h2_pings),
    ("http/2, slow beside quick", h2_slow_beside_quick),
    ("http/2, settings late", h2_slow_first),
    ("grpc unary, 50 ms", grpc_unary),
    ("grpc unary, 5 s, pings", grpc_unary_slow),
    ("grpc stream, 12 messages", grpc_stream),
    ("llm stream, first token after 3 s", llm_stream),
    ("llm stream, pauses of 3 s", llm_pauses),
    ("token stream, endless", tokens_endless),
    ("checker, 1 Hz, kept alive", checker_1s),
    ("checker, 2.5 s, kept alive", checker_2s),
    ("checker, 2.5 s, same jiffy", checker_instant),
    ("scraper, connection each", scraper),
    ("half a request", half_request),
    ("client vanished", vanished),
    ("client vanished, app closed", vanished_closed),
    ("client does not read", stalled),
    ("client closed its side, waits 2 s", half_closed_waits),
    ("client left, work goes on", left),
    ("app closed, 2 MB in the kernel", closed_with_rest),
    ("long poll, 10 s", long_poll),
    ("long poll, for ever", long_poll_endless),
    ("small protocol 20/30 at 5 Hz", small_protocol),
];

/// Requests one after the other while the balancer sends any.
fn pool(cast: &mut Cast, clients: i64, work: (i64, i64), pause: (i64, i64)) {
    for _ in 0..clients {
        let mut at = BEGIN + cast.roll(100, 900);
        let mut all = Vec::new();
        while at < LAG {
            let took = cast.roll(work.0, work.1);
            all.push((at, cast.size(180, 400), took, cast.size(300, 9000)));
            at += took + cast.roll(pause.0, pause.1);
        }
        let link = cast.link(BEGIN + 50);
        for (at, request, took, answer) in all {
            link.exchange(at, request, took, answer);
        }
    }
}

fn pool_quick(cast: &mut Cast) {
    pool(cast, 3, (15, 25), (40, 200));
}

fn pool_instant(cast: &mut Cast) {
    pool(cast, 3, (0, 1), (40, 200));
}

fn pool_slow(cast: &mut Cast) {
    pool(cast, 3, (200, 1500), (40, 300));
}

fn pool_alike(cast: &mut Cast) {
    for _ in 0..3 {
        let mut at = BEGIN + cast.roll(100, 900);
        let mut all = Vec::new();
        while at < LAG {
            all.push(at);
            at += cast.roll(60, 220);
        }
        let link = cast.link(BEGIN + 50);
        for at in all {
            link.exchange(at, 180, 15, 300);
        }
    }
}

fn connection_each(cast: &mut Cast) {
    let mut at = BEGIN;
    while at < LAG {
        let (work, answer) = (cast.roll(5, 60), cast.size(300, 9000));
        let link = cast.link(at);
        let answered = link.exchange(at, 200, work, answer);
        link.does(answered, Deed::Close);
        link.does(answered + 1, Deed::Leave);
        at += cast.roll(100, 300);
    }
}

fn pool_idle(cast: &mut Cast) {
    for n in 0..4 {
        let link = cast.link(BEGIN);
        link.exchange(BEGIN + 300 * n, 200, 10, 900);
    }
}

fn made_ahead(cast: &mut Cast) {
    for at in [BEGIN, -500, 1500] {
        cast.link(at);
    }
}

fn one_slow(cast: &mut Cast) {
    let at = -cast.roll(100, 900);
    cast.link(at).exchange(at, 200, 6000, 900);
}

fn tls13_first(cast: &mut Cast) {
    let at = -cast.roll(100, 900);
    let link = cast.link(at);
    link.tls13(at, 200);
    link.say(at + 5000, 900);
    link.flight(at, at + 5000);
}

fn tls12_first(cast: &mut Cast) {
    let at = -cast.roll(100, 900);
    let link = cast.link(at);
    link.tls12(at, 200);
    link.say(at + 5000, 900);
    link.flight(at, at + 5000);
}

fn tls13_pool(cast: &mut Cast) {
    pool(cast, 2, (15, 300), (40, 300));
    for link in &mut cast.links {
        link.opens = BEGIN;
        link.tls13(BEGIN, 200);
        link.say(BEGIN + 20, 700);
    }
}

fn parts(cast: &mut Cast, request: usize, answer: &[(i64, usize)]) {
    let begun = -cast.roll(100, 900);
    let link = cast.link(begun);
    link.ask(begun, request);
    let mut at = begun;
    for (pause, bytes) in answer {
        at += pause;
        link.say(at, *bytes);
    }
    link.flight(begun, at);
}

fn headers_3s(cast: &mut Cast) {
    parts(cast, 200, &[(30, 180), (3000, 5000)]);
}

fn headers_6s(cast: &mut Cast) {
    parts(cast, 200, &[(30, 180), (6000, 5000)]);
}

fn chunks(cast: &mut Cast) {
    parts(cast, 200, &[(10, 180), (1500, 400), (1500, 410), (1500, 390), (1500, 420)]);
}

fn expect_continue(cast: &mut Cast) {
    let at = -cast.roll(100, 900);
    let link = cast.link(at);
    link.ask(at, 220);
    link.say(at, 25);
    link.ask(at + 1, 4000);
    link.say(at + 2000, 700);
    link.flight(at, at + 2000);
}

fn early_hints(cast: &mut Cast) {
    parts(cast, 200, &[(0, 110), (4000, 5000)]);
}

fn pipelined(cast: &mut Cast) {
    let at = -cast.roll(100, 600);
    let link = cast.link(at);
    for _ in 0..3 {
        link.ask(at, 200);
    }
    for n in 0..3 {
        link.say(at + n * 1200, 600);
        link.flight(at, at + n * 1200);
    }
}

fn post_two_segments(cast: &mut Cast) {
    for _ in 0..2 {
        let mut at = BEGIN + cast.roll(0, 500);
        let mut all = Vec::new();
        while at < LAG {
            all.push((at, cast.size(300, 3000), cast.size(200, 900)));
            at += cast.roll(150, 600);
        }
        let link = cast.link(BEGIN);
        for (at, body, answer) in all {
            link.ask(at, 180);
            link.exchange(at + 1, body, 20, answer);
        }
    }
}

fn download(cast: &mut Cast) {
    let at = -cast.roll(100, 900);
    let link = cast.link(at);
    link.ask(at, 200);
    for n in 1..80 {
        link.say(at + n * 50, 40_000);
    }
    link.flight(at, at + 79 * 50);
}

fn download_slow(cast: &mut Cast) {
    let at = -cast.roll(100, 900);
    let link = cast.link(at);
    link.ask(at, 200);
    link.say(at + 10, 12_000_000);
    // 5 s; what is left of it then is in the client's kernel, after 3.6 s.
    link.pace = Some(120_000);
    link.flight(at, at + 3600);
}

fn upload(cast: &mut Cast) {
    let at = -cast.roll(100, 900);
    let link = cast.link(at);
    for n in 0..80 {
        link.ask(at + n * 50, 30_000);
    }
    link.say(at + 4400, 300);
    link.flight(at, at + 4400);
}

fn upload_slow(cast: &mut Cast) {
    let at = -cast.roll(100, 900);
    let link = cast.link(at);
    for n in 0..7 {
        link.ask(at + n * 900, 1200);
    }
    link.say(at + 6000, 300);
    link.flight(at, at + 6000);
}

fn upgraded(cast: &mut Cast) -> usize {
    let at = BEGIN + cast.roll(0, 400);
    cast.link(at).exchange(at, 250, 5, 180);
    cast.links.len() - 1
}

fn pings(cast: &mut Cast, place: usize, every: i64, by_client: bool) {
    let mut at = BEGIN + 500 + cast.roll(0, every);
    while at < END {
        let link = &mut cast.links[place];
        if by_client {
            link.ask(at, 6);
            link.say(at, 2);
        } else {
            link.say(at, 2);
            link.ask(at + 1, 6);
        }
        at += every;
    }
}

fn ws_client_ping(cast: &mut Cast) {
    let place = upgraded(cast);
    pings(cast, place, 5000, true);
}

fn ws_server_ping(cast: &mut Cast) {
    let place = upgraded(cast);
    pings(cast, place, 20_000, false);
}

fn ws_many(cast: &mut Cast) {
    for n in 0..30 {
        let place = upgraded(cast);
        pings(cast, place, if n % 2 == 0 { 5000 } else { 20_000 }, n % 3 > 0);
    }
}

fn ws_chat(cast: &mut Cast) {
    let place = upgraded(cast);
    pings(cast, place, 5000, false);
    let mut at = BEGIN + 1000;
    while at < END {
        let (bytes, own) = (cast.size(20, 300), cast.roll(0, 2) == 0);
        let link = &mut cast.links[place];
        if own {
            link.ask(at, bytes)
        } else {
            link.say(at, bytes)
        }
        at += cast.roll(200, 5000);
    }
}

fn events(cast: &mut Cast, every: i64, bytes: (i64, i64)) {
    let mut at = BEGIN + cast.roll(0, 300);
    let link = cast.link(at);
    link.ask(at, 250);
    link.say(at + 5, 190);
    let place = cast.links.len() - 1;
    while at < END {
        at += every;
        let size = cast.size(bytes.0, bytes.1);
        cast.links[place].say(at, size);
    }
}

fn sse_events(cast: &mut Cast) {
    events(cast, 3000, (60, 300));
}

fn sse_heartbeat(cast: &mut Cast) {
    events(cast, 15_000, (3, 4));
}

/// Preface, settings, and their acknowledgements.
fn h2(cast: &mut Cast) -> usize {
    let link = cast.link(BEGIN);
    link.ask(BEGIN, 24 + 27 + 13);
    link.say(BEGIN, 27);
    link.say(BEGIN, 9);
    link.ask(BEGIN + 1, 9);
    cast.links.len() - 1
}

fn h2_calls(cast: &mut Cast, place: usize, work: (i64, i64), pause: (i64, i64)) {
    let mut at = BEGIN + 300;
    while at < LAG {
        let (request, took, answer) =
            (cast.size(40, 120), cast.roll(work.0, work.1), cast.size(120, 3000));
        let answered = cast.links[place].exchange(at, request, took, answer);
        at = answered + cast.roll(pause.0, pause.1);
    }
}

fn h2_pool(cast: &mut Cast) {
    let place = h2(cast);
    h2_calls(cast, place, (10, 200), (50, 400));
}

/// The client enlarges the window after the last answer: it spoke last, and waits for nothing.
fn h2_window(cast: &mut Cast) {
    h2_pool(cast);
    let last = cast.links[0].flights.iter().map(|(_, until)| *until).max().unwrap_or(0);
    cast.links[0].ask(last + 2, 13);
}

fn ping_frames(cast: &mut Cast, place: usize, every: i64) {
    let mut at = BEGIN + 700 + cast.roll(0, every);
    while at < END {
        let link = &mut cast.links[place];
        link.ask(at, 17);
        link.say(at, 17);
        at += every;
    }
}

fn h2_pings(cast: &mut Cast) {
    let place = h2(cast);
    cast.links[place].exchange(BEGIN + 300, 90, 15, 700);
    ping_frames(cast, place, 2000);
}

fn h2_slow_beside_quick(cast: &mut Cast) {
    let place = h2(cast);
    h2_calls(cast, place, (10, 60), (500, 900));
    let at = -cast.roll(100, 400);
    cast.links[place].exchange(at, 77, 4500, 1100);
}

fn h2_slow_first(cast: &mut Cast) {
    let at = -cast.roll(100, 900);
    let link = cast.link(at);
    // The call comes with the preface; settings and acknowledgements cross with it.
    link.ask(at, 24 + 27 + 13 + 70);
    link.say(at, 27 + 9);
    link.ask(at + 1, 9);
    link.say(at + 3000, 900);
    link.flight(at, at + 3000);
}

fn grpc_unary(cast: &mut Cast) {
    let place = h2(cast);
    let mut at = BEGIN + 300;
    while at < LAG {
        let (request, answer) = (cast.size(90, 200), cast.size(90, 300));
        let link = &mut cast.links[place];
        link.exchange(at, request, 50, answer);
        // The client measures the bandwidth: WINDOW_UPDATE and PING.
        link.ask(at + 51, 13 + 17);
        link.say(at + 51, 17);
        at += cast.roll(150, 500);
    }
}

fn grpc_unary_slow(cast: &mut Cast) {
    let place = h2(cast);
    ping_frames(cast, place, 2000);
    let at = -cast.roll(100, 900);
    cast.links[place].exchange(at, 130, 5000, 150);
}

fn grpc_stream(cast: &mut Cast) {
    let place = h2(cast);
    let at = -cast.roll(100, 900);
    let link = &mut cast.links[place];
    link.ask(at, 130);
    for n in 1..=12 {
        link.say(at + n * 600, 64);
        if n % 4 == 0 {
            link.ask(at + n * 600 + 1, 13 + 17);
            link.say(at + n * 600 + 1, 17);
        }
    }
    link.flight(at, at + 7200);
}

fn tokens(cast: &mut Cast, first: i64, groups: i64, pause: i64) {
    let begun = -cast.roll(100, 900);
    let link = cast.link(begun);
    link.ask(begun, 600);
    link.say(begun + 20, 190);
    let mut at = begun + first;
    let place = cast.links.len() - 1;
    for _ in 0..groups {
        for _ in 0..30 {
            let size = cast.size(20, 60);
            cast.links[place].say(at, size);
            at += 60;
        }
        at += pause;
    }
    cast.links[place].flight(begun, at - pause - 60);
}

fn llm_stream(cast: &mut Cast) {
    tokens(cast, 3000, 2, 0);
}

fn llm_pauses(cast: &mut Cast) {
    tokens(cast, 3000, 2, 3000);
}

/// One answer after the other: an answer has 5 s, and so has the pause.
fn tokens_endless(cast: &mut Cast) {
    let place = upgraded(cast);
    let mut at = BEGIN + 1000;
    while at < END {
        let size = cast.size(20, 60);
        cast.links[place].say(at, size);
        at += 250;
    }
}

fn checker(cast: &mut Cast, every: i64, work: i64) {
    let mut at = BEGIN + cast.roll(0, every);
    let link = cast.link(at);
    while at < END {
        link.exchange(at, 117, work, 171);
        at += every;
    }
}

fn checker_1s(cast: &mut Cast) {
    checker(cast, 1000, 12);
}

fn checker_2s(cast: &mut Cast) {
    checker(cast, 2500, 12);
}

fn checker_instant(cast: &mut Cast) {
    checker(cast, 2500, 0);
}

fn scraper(cast: &mut Cast) {
    let mut at = BEGIN + cast.roll(0, 3000);
    while at < END {
        let answer = cast.size(9000, 20_000);
        let link = cast.link(at);
        let answered = link.exchange(at, 180, 15, answer);
        link.does(answered + 2, Deed::Leave);
        link.does(answered + 3, Deed::Close);
        at += 5000;
    }
}

fn half_request(cast: &mut Cast) {
    let at = -cast.roll(500, 3000);
    cast.link(at).ask(at, 8);
}

fn vanished(cast: &mut Cast) {
    let link = cast.link(BEGIN);
    link.ask(BEGIN, 200);
    link.does(BEGIN + 200, Deed::Vanish);
    link.say(BEGIN + 800, 900);
}

fn vanished_closed(cast: &mut Cast) {
    vanished(cast);
    cast.links[0].does(BEGIN + 801, Deed::Close);
}

fn stalled(cast: &mut Cast) {
    let at = -cast.roll(1000, 4000);
    let link = cast.link(at);
    link.does(at, Deed::StopReading);
    link.ask(at, 200);
    link.say(at + 20, 30_000_000);
}

fn half_closed_waits(cast: &mut Cast) {
    let at = -cast.roll(100, 900);
    let link = cast.link(at);
    link.exchange(at, 200, 2000, 900);
    link.does(at + 1, Deed::HalfClose);
    link.does(at + 2001, Deed::Close);
}

fn left(cast: &mut Cast) {
    let at = -cast.roll(100, 900);
    let link = cast.link(at);
    link.ask(at, 200);
    link.does(at + 500, Deed::Leave);
    link.say(at + 30_000, 900);
}

fn closed_with_rest(cast: &mut Cast) {
    let at = -cast.roll(100, 900);
    let link = cast.link(at);
    link.ask(at, 200);
    link.say(at + 10, 2_000_000);
    link.does(at + 11, Deed::Close);
    // 4 s; what is left of it then is in the client's kernel, after 2.5 s.
    link.pace = Some(25_000);
    link.flight(at, at + 2500);
}

fn long_poll(cast: &mut Cast) {
    let at = -cast.roll(1000, 6000);
    cast.link(at).exchange(at, 200, 10_000, 120);
}

fn long_poll_endless(cast: &mut Cast) {
    let at = -cast.roll(1000, 6000);
    let link = cast.link(at);
    link.ask(at, 200);
    link.flight(at, NEVER);
}

fn small_protocol(cast: &mut Cast) {
    let link = cast.link(BEGIN);
    let mut at = BEGIN + 50;
    while at < LAG {
        link.exchange(at, 20, 1, 30);
        at += 200;
    }
}
