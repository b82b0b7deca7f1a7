//! What a shape is: data.

/// A shape of entry script or server.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// The name of its test, and of the shape on the command line.
    pub(crate) id: &'static str,
    /// What the table calls it. "(script)": a script of the same shape stands in for the program.
    pub(crate) name: &'static str,
    /// Programs without which it cannot be tried; `@TARGET@` is where `tests/run` installs.
    pub(crate) needs: &'static [&'static str],
    /// What lies in its directory beside the [apps](super::APPS). What begins with `#!` is executable.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// What the init runs, in the shape's directory.
    pub(crate) command: &'static [&'static str],
    /// What the init is started by, words of a program that becomes it: fewer privileges, as an engine gives.
    pub(crate) wrap: &'static [&'static str],
    /// When it is to be stopped: all of these hold.
    pub(crate) ready: &'static [Sign],
    /// A file with a script that the harness runs outside: a client.
    pub(crate) visitor: Option<&'static str>,
    /// A request that is answered while it is stopped.
    pub(crate) request: Option<Request>,
    /// What the init is sent. The clock starts with the first signal.
    pub(crate) send: &'static [Step],
    /// How to see that the work was saved: all of these hold.
    pub(crate) saved: &'static [Proof],
    /// What the app prints when it is asked, where it writes no file `asked`.
    pub(crate) asked: Option<&'static str>,
}

/// What most shapes have in common.
pub(crate) const SHAPE: Shape = Shape {
    id: "",
    name: "",
    needs: &["/usr/bin/python3"],
    files: &[],
    command: &["./entry"],
    wrap: &[],
    ready: &[Sign::File("ready")],
    visitor: None,
    request: None,
    send: &[Step::Send("TERM")],
    saved: &[Proof::File("saved")],
    asked: None,
};

/// What can be waited for.
#[derive(Clone, Copy)]
pub(crate) enum Sign {
    /// A file is there.
    File(&'static str),
    /// A file contains this.
    Text(&'static str, &'static str),
    /// A process of this name runs.
    Runs(&'static str),
    /// A line of the output contains this.
    Line(&'static str),
}

/// What the platform does.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    /// Sends a signal to the init.
    Send(&'static str),
    /// Waits for a sign, or so many milliseconds for the end: a platform that waits before it escalates.
    Until(Option<Sign>, u64),
}

/// How to see that the work was saved.
#[derive(Clone, Copy)]
pub(crate) enum Proof {
    /// A file is there.
    File(&'static str),
    /// A file contains this.
    Text(&'static str, &'static str),
    /// A file was removed, as in an end in order.
    Gone(&'static str),
    /// A line of the output contains this.
    Line(&'static str),
    /// The request was answered as a whole.
    Answer,
    /// The init ended with this code.
    Code(i32),
}

/// A request over HTTP whose answer ends with a line `whole`.
#[derive(Clone, Copy)]
pub(crate) enum Request {
    /// To a socket in the shape's directory.
    Unix(&'static str),
    /// To the port that `@PORT@` stands for.
    Tcp,
}
