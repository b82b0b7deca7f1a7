use std::time::Duration;

use super::*;

const RULES: Rules = Rules { idle: Duration::from_secs(1), owed: None };

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn with(sent: u64, received: u64, acknowledged: u64) -> Connection {
    let stamps = Stamps {
        sent: ms(sent),
        received: ms(received),
        acknowledged: ms(acknowledged),
        bytes_received: Some(100),
        silent: false,
    };
    Connection {
        key: 1,
        state: State::Established,
        held: true,
        unread: 0,
        unsent: 0,
        stamps: Some(stamps),
    }
}

fn bytes(mut connection: Connection, received: Option<u64>) -> Connection {
    if let Some(stamps) = &mut connection.stamps {
        stamps.bytes_received = received;
    }
    connection
}

fn judged(connection: Connection) -> Verdict {
    judge(&connection, &RULES)
}

// ---- the sentences of the specification -------------------------------------------------------

#[test]
fn busy_bytes_unread_or_unacknowledged() {
    let quiet = with(5000, 9000, 5000);
    assert_eq!(judged(quiet), Verdict::Idle);
    assert_eq!(judged(Connection { unread: 1, ..quiet }), Verdict::Busy);
    assert_eq!(judged(Connection { unsent: 1, ..quiet }), Verdict::Busy);
    // Even when nothing was ever asked: a greeting on its way.
    assert_eq!(judged(Connection { unsent: 1, ..bytes(quiet, Some(0)) }), Verdict::Busy);
}

#[test]
fn busy_the_client_spoke_last_an_answer_is_owed() {
    assert_eq!(judged(with(9000, 5000, 5000)), Verdict::Owed);
    // By a single jiffy of the fastest clock.
    assert_eq!(judged(with(5001, 5000, 5000)), Verdict::Owed);
}

#[test]
fn busy_for_as_long_as_slow_handlers_take() {
    assert_eq!(judged(with(900_000_000, 86_400_000, 86_400_000)), Verdict::Owed);
}

#[test]
fn idle_the_app_spoke_last_and_nothing_moved() {
    assert_eq!(judged(with(1000, 1004, 1000)), Verdict::Idle);
    assert_eq!(judged(with(999, 1003, 996)), Verdict::Busy);
}

#[test]
fn idle_nothing_was_ever_asked_and_nothing_moved() {
    for acknowledged in [900, 1000, 5000] {
        let made = bytes(with(1000, 1000, acknowledged), Some(0));
        assert_eq!(judged(made), Verdict::Idle);
        let fresh = bytes(with(999, 999, acknowledged), Some(0));
        assert_eq!(judged(fresh), Verdict::Busy);
    }
    // A server that speaks first.
    assert_eq!(judged(bytes(with(1000, 3000, 900), Some(0))), Verdict::Idle);
}

#[test]
fn both_in_the_same_jiffy_idle_if_an_ack_came_after_the_last_data() {
    assert_eq!(judged(with(1000, 1000, 960)), Verdict::Idle);
    assert_eq!(judged(with(996, 996, 960)), Verdict::Busy);
    assert_eq!(judged(with(1000, 1000, 1000)), Verdict::Owed);
    assert_eq!(judged(with(1000, 1000, 1004)), Verdict::Owed);
}

#[test]
fn both_in_the_same_jiffy_else_after_three_seconds() {
    assert_eq!(judged(with(2999, 2999, 2999)), Verdict::Owed);
    assert_eq!(judged(with(3000, 3000, 3000)), Verdict::Idle);
    let patient = Rules { idle: ms(10_000), owed: None };
    assert_eq!(judge(&with(3000, 3000, 3000), &patient), Verdict::Owed);
    assert_eq!(judge(&with(10_000, 10_000, 10_000), &patient), Verdict::Idle);
}

#[test]
fn an_unanswered_request_counts_no_longer_than_drain_owed() {
    let rules = Rules { owed: Some(ms(2000)), ..RULES };
    assert_eq!(judge(&with(9000, 1999, 1999), &rules), Verdict::Owed);
    assert_eq!(judge(&with(9000, 2000, 2000), &rules), Verdict::Idle);
    // Where it is not sure that it is one, neither.
    assert_eq!(judge(&with(2000, 2000, 2000), &rules), Verdict::Idle);
    // Bytes on their way are another matter.
    assert_eq!(judge(&Connection { unread: 1, ..with(9000, 5000, 5000) }, &rules), Verdict::Busy);
}

#[test]
fn where_only_the_connection_is_seen_it_is_busy() {
    let bare = Connection { stamps: None, ..with(0, 0, 0) };
    assert_eq!(judged(bare), Verdict::Busy);
    assert_eq!(judged(Connection { state: State::CloseWait, ..bare }), Verdict::Busy);
}

#[test]
fn an_old_kernel_does_not_tell_how_much_was_received() {
    // Never asked, or asked and answered at once: after the doubt both are idle.
    assert_eq!(judged(bytes(with(2999, 2999, 2999), None)), Verdict::Owed);
    assert_eq!(judged(bytes(with(3000, 3000, 3000), None)), Verdict::Idle);
    assert_eq!(judged(bytes(with(9000, 3000, 3000), None)), Verdict::Owed);
}

// ---- closing ----------------------------------------------------------------------------------

#[test]
fn a_client_that_closed_its_side_waits_for_its_answer() {
    let closed = |c| Connection { state: State::CloseWait, ..c };
    assert_eq!(judged(closed(with(9000, 5000, 5000))), Verdict::Owed);
    assert_eq!(judged(closed(with(5000, 9000, 5000))), Verdict::Idle);
    // Its FIN, which the app has not seen yet, is no byte.
    assert_eq!(judged(Connection { unread: 1, ..closed(with(5000, 9000, 5000)) }), Verdict::Idle);
    assert_eq!(judged(Connection { unread: 2, ..closed(with(5000, 9000, 5000)) }), Verdict::Busy);
    // Nor does the FIN of one that never asked ask for anything.
    assert_eq!(judged(closed(bytes(with(5000, 5000, 5000), Some(1)))), Verdict::Idle);
    assert_eq!(judged(closed(bytes(with(9000, 5000, 5000), Some(2)))), Verdict::Owed);
}

#[test]
fn an_app_that_closed_owes_nothing_but_what_it_wrote() {
    for state in [State::FinWait1, State::Closing, State::LastAck] {
        // Whoever spoke last.
        for spoken in [with(9000, 5000, 5000), with(0, 0, 0), with(5000, 9000, 9000)] {
            let closed = |unsent| Connection { state, unsent, held: false, ..spoken };
            assert_eq!(judged(closed(0)), Verdict::Idle);
            // The app's own FIN.
            assert_eq!(judged(closed(1)), Verdict::Idle);
            assert_eq!(judged(closed(2)), Verdict::Busy);
            assert_eq!(judge(&Connection { stamps: None, ..closed(2) }, &RULES), Verdict::Busy);
        }
    }
    let closed = Connection { state: State::FinWait2, ..with(9000, 0, 0) };
    assert_eq!(judged(closed), Verdict::Idle);
    assert_eq!(judged(Connection { unread: 5, ..closed }), Verdict::Busy);
}

#[test]
fn busy_from_the_first_request_on() {
    // Asked right after the connection was made, with one delayed acknowledgement more or without.
    for (sent, acknowledged) in [(5000, 5000), (5000, 4960), (5004, 5000)] {
        let mut asked = with(sent, 5000, acknowledged);
        if let Some(stamps) = &mut asked.stamps {
            stamps.silent = true;
        }
        assert_eq!(judged(asked), Verdict::Owed);
        let limited = Rules { owed: Some(ms(4000)), ..RULES };
        assert_eq!(judge(&asked, &limited), Verdict::Idle);
        assert_eq!(judged(bytes(asked, Some(0))), Verdict::Idle, "nothing was asked");
    }
}

// ---- what servers and clients do --------------------------------------------------------------

#[test]
fn stories() {
    use Verdict::{Busy, Idle, Owed};
    for (story, sent, received, acknowledged, bytes_received, verdict) in [
        ("keep-alive after an answer", 20_000, 20_040, 19_990, 300, Idle),
        ("keep-alive after an answer just now", 200, 240, 190, 300, Busy),
        ("a handler that takes half a minute", 40_000, 30_000, 30_000, 300, Owed),
        ("a long poll, asked again after the last answer", 55_000, 54_900, 54_900, 900, Owed),
        ("half a request: the client is slow, or attacks", 8000, 5000, 5000, 30, Owed),
        ("a balancer's pool, never used", 60_000, 60_000, 60_000, 0, Idle),
        ("a browser connected ahead of its request", 300, 300, 300, 0, Busy),
        ("TLS: the handshake ends with the server's tickets", 9000, 9004, 8990, 500, Idle),
        ("TLS: it ended with the client, no request came", 9004, 9000, 9000, 500, Owed),
        ("a web socket with a ping of the client's answered", 15_000, 15_004, 14_990, 900, Idle),
        ("a web socket whose client was not answered", 15_004, 15_000, 15_000, 900, Owed),
        ("events pushed every half a second", 400, 60_000, 390, 300, Busy),
        ("events pushed now and then", 4000, 60_000, 3990, 300, Idle),
        ("HTTP/2: the client acknowledged the settings last", 9000, 8960, 8960, 300, Owed),
        ("MySQL: the server greets", 9000, 9100, 8990, 0, Idle),
        ("a probe of TCP's own keep-alive was answered", 20_000, 20_040, 10, 300, Idle),
        ("asked and answered within a jiffy, delayed ack", 2000, 2000, 1960, 300, Idle),
        ("asked and answered within a jiffy on loopback", 2000, 2000, 2000, 300, Owed),
        ("the same a little later", 3000, 3000, 3000, 300, Idle),
    ] {
        let connection = bytes(with(sent, received, acknowledged), Some(bytes_received));
        assert_eq!(judged(connection), verdict, "{story}");
    }
}

// ---- all orders of events ---------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// The client asks, having seen all that the app has sent.
    Ask,
    /// The client asks, and the app's bytes cross with that.
    Cross,
    /// The app reads.
    Take,
    /// The app sends.
    Say,
    /// The client's acknowledgement comes.
    Ack,
    /// The clock moves by a jiffy, half a second, four seconds.
    Jiffy,
    Half,
    Four,
}

const STEPS: [Step; 8] =
    [Step::Ask, Step::Cross, Step::Take, Step::Say, Step::Ack, Step::Jiffy, Step::Half, Step::Four];

/// A connection of the kernel's, and the truth about it.
#[derive(Clone, Copy, Debug)]
struct Model {
    now: u64,
    sent: u64,
    received: u64,
    acknowledged: u64,
    bytes: u64,
    unread: u32,
    unsent: u32,
    client_spoke_last: bool,
    /// The bytes of both crossed: the acknowledgement of the app's may come after the client's.
    crossed: bool,
}

impl Model {
    const NEW: Model = Model {
        now: 0,
        sent: 0,
        received: 0,
        acknowledged: 0,
        bytes: 0,
        unread: 0,
        unsent: 0,
        client_spoke_last: false,
        crossed: false,
    };

    fn step(&mut self, step: Step, jiffy: u64) {
        match step {
            Step::Ask | Step::Cross => {
                self.received = self.now;
                self.bytes += 1;
                self.unread += 1;
                self.client_spoke_last = true;
                if step == Step::Ask && self.unsent > 0 {
                    self.unsent = 0;
                    self.acknowledged = self.now;
                }
                self.crossed = self.unsent > 0;
            }
            Step::Take => self.unread = 0,
            Step::Say => {
                self.sent = self.now;
                self.unsent += 1;
                self.client_spoke_last = false;
            }
            Step::Ack if self.unsent > 0 => {
                self.unsent = 0;
                self.acknowledged = self.now;
            }
            Step::Ack => {}
            Step::Jiffy => self.now += jiffy,
            Step::Half => self.now += 500,
            Step::Four => self.now += 4000,
        }
    }

    fn connection(&self) -> Connection {
        let age = |stamp| self.now - stamp;
        let seen = with(age(self.sent), age(self.received), age(self.acknowledged));
        Connection { unread: self.unread, unsent: self.unsent, ..bytes(seen, Some(self.bytes)) }
    }

    fn check(&self, rules: &Rules) {
        let verdict = judge(&self.connection(), rules);
        let moved = self.now - self.sent.max(self.received);
        let idle = u64::try_from(rules.idle.as_millis()).expect("a short time");
        let owed =
            rules.owed.map_or(u64::MAX, |owed| u64::try_from(owed.as_millis()).expect("too"));
        if self.unread > 0 || self.unsent > 0 {
            return assert_eq!(verdict, Verdict::Busy, "bytes are on their way");
        }
        if self.client_spoke_last {
            let asked = self.now - self.received;
            let tie = self.sent == self.received;
            // An app that has to answer gets the time that it needs, or three seconds where it
            // cannot be known that it has to.
            let patience = if tie { idle.max(3000) } else { u64::MAX };
            if tie && self.crossed {
                // Taken for an answer: idle at some time, that is all.
                return assert!(asked < patience || verdict == Verdict::Idle);
            }
            let expected = if asked < patience.min(owed) { Verdict::Owed } else { Verdict::Idle };
            assert_eq!(verdict, expected);
        } else {
            // Nobody waits for one that waits for its client.
            let sure = self.bytes == 0 || self.sent > self.received;
            if moved >= if sure { idle } else { idle.max(3000) } {
                assert_eq!(verdict, Verdict::Idle);
            }
            if moved < idle.min(owed) {
                assert_ne!(verdict, Verdict::Idle, "something moved just now");
            }
            if sure {
                assert_ne!(verdict, Verdict::Owed);
            }
        }
    }
}

#[test]
fn who_spoke_last_in_every_order_of_events() {
    const DEPTH: usize = 5;
    let every_rule = [RULES, Rules { idle: ms(4000), owed: None }]
        .into_iter()
        .chain([500, 4000].map(|owed| Rules { idle: ms(1000), owed: Some(ms(owed)) }));
    for rules in every_rule {
        for jiffy in [1, 4, 10] {
            let mut open = vec![(Model::NEW, 0)];
            while let Some((model, depth)) = open.pop() {
                model.check(&rules);
                if depth < DEPTH {
                    for step in STEPS {
                        let mut next = model;
                        next.step(step, jiffy);
                        open.push((next, depth + 1));
                    }
                }
            }
        }
    }
}

// ---- the tally --------------------------------------------------------------------------------

fn numbered(key: u64) -> Connection {
    Connection { key, ..with(5000, 9000, 5000) }
}

#[test]
fn new_is_what_the_look_before_has_not_seen() {
    let mut tally = Tally::new(RULES);
    let mut look = |keys: &[u64]| {
        keys.iter().for_each(|key| tally.connection(&numbered(*key)));
        tally.end(Visibility::Full).new
    };
    assert_eq!(look(&[3, 1, 2]), 0, "nothing is known of the time before");
    assert_eq!(look(&[2, 3, 1]), 0);
    assert_eq!(look(&[3, 4, 9]), 2);
    assert_eq!(look(&[]), 0);
    assert_eq!(look(&[3]), 1);
}

#[test]
fn silence_is_the_age_of_the_youngest_byte() {
    let mut tally = Tally::new(RULES);
    assert_eq!(tally.end(Visibility::Full).silence, None);
    for received in [700, 300, 900] {
        tally.connection(&Connection { key: received, ..with(200, received, 100) });
    }
    assert_eq!(tally.end(Visibility::Full).silence, Some(ms(300)));
    // Without stamps it is known only that one is new.
    let bare = |key| Connection { key, stamps: None, ..with(0, 0, 0) };
    tally.connection(&bare(700));
    assert_eq!(tally.end(Visibility::Counts).silence, None);
    tally.connection(&bare(701));
    assert_eq!(tally.end(Visibility::Counts).silence, Some(Duration::ZERO));
}

#[test]
fn connections_that_nobody_has_accepted_are_queued_once() {
    let mut tally = Tally::new(RULES);
    for key in 1..=3 {
        tally.connection(&Connection { held: false, unread: 7, ..numbered(key) });
    }
    tally.listener(1);
    tally.listener(1);
    let look = tally.end(Visibility::Full);
    assert_eq!((look.queued, look.busy, look.idle), (3, 0, 0));
    assert!(!look.calm());
    tally.listener(2);
    assert_eq!(tally.end(Visibility::Full).queued, 2);
}

#[test]
fn a_handshake_is_waited_for_until_the_next_look() {
    let half = Connection { state: State::SynReceived, held: false, stamps: None, ..numbered(8) };
    let mut tally = Tally::new(RULES);
    for queued in [1, 0, 0] {
        tally.connection(&half);
        let look = tally.end(Visibility::Full);
        assert_eq!((look.queued, look.busy, look.owed, look.idle), (queued, 0, 0, 0));
    }
    tally.connection(&Connection { key: 9, ..half });
    let look = tally.end(Visibility::Full);
    assert_eq!((look.queued, look.new, look.silence), (1, 1, Some(Duration::ZERO)));
}

#[test]
fn calm_is_nothing_busy_owed_or_queued() {
    let nothing = Sample::default();
    let all = |visibility| Sample { visibility, ..nothing };
    assert!(all(Visibility::Full).calm() && all(Visibility::Counts).calm());
    assert!(Sample { idle: 1000, new: 1, ..nothing }.calm());
    for look in [
        Sample { busy: 1, ..nothing },
        Sample { owed: 1, ..nothing },
        Sample { queued: 1, ..nothing },
    ] {
        assert!(!look.calm());
        assert!(!Sample { visibility: Visibility::Counts, ..look }.calm());
        assert!(
            Sample { visibility: Visibility::Blind, ..look }.calm(),
            "what is not seen is not waited for"
        );
    }
}

#[test]
fn what_could_not_be_seen_is_taken_for_busy() {
    let mut tally = Tally::new(RULES);
    tally.connection(&numbered(1));
    tally.incomplete();
    assert!(!tally.end(Visibility::Full).calm());
}

#[test]
fn a_look_begun_again_counts_nothing_twice() {
    let mut tally = Tally::new(RULES);
    tally.end(Visibility::Full);
    tally.connection(&Connection { held: false, ..numbered(1) });
    tally.listener(4);
    tally.datagrams(2);
    tally.heard(Duration::ZERO);
    tally.restart();
    tally.connection(&numbered(1));
    let look = tally.end(Visibility::Full);
    assert_eq!((look.idle, look.new, look.queued), (1, 1, 0));
    assert_eq!(look.silence, Some(ms(9000)));
}
