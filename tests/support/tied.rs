//! Child processes that end when this one does, however it ends.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// Runs `$@`, says its process id, and kills it once standard input closes: then this process has let go of it, or
/// is gone.
const WRAPPER: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- >&2 &
child=$!
{ cat <&3 >/dev/null; kill -KILL $child; } 2>/dev/null &
watch=$!
echo $child
wait $child
status=$?
kill $watch
exit $status
"#;

/// A child process that does not outlive this one; killed when dropped.
pub struct Tied {
    wrapper: Child,
    id: String,
}

impl Tied {
    /// Runs a program; what it prints goes to the end of `log`.
    pub fn spawn(program: &mut Command, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut wrapper = Command::new("sh");
        wrapper.args(["-c", WRAPPER, "tied"]).arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => wrapper.env(name, value),
                None => wrapper.env_remove(name),
            };
        }
        let mut wrapper = wrapper.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut id = String::new();
        BufReader::new(wrapper.stdout.take().unwrap()).read_line(&mut id).unwrap();
        Self { wrapper, id: id.trim().to_owned() }
    }

    /// Sends a signal, by its short name.
    pub fn signal(&self, name: &str) {
        let kill = Command::new("sh").args(["-c", "kill -\"$0\" \"$1\"", name, &self.id]).status();
        assert!(kill.unwrap().success());
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.wrapper.try_wait().unwrap()
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        // Closing the pipe, as `Child::wait` does, would kill it.
        let stdin = self.wrapper.stdin.take();
        let status = self.wrapper.wait().unwrap();
        drop(stdin);
        status
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        drop(self.wrapper.stdin.take());
        let _ = self.wrapper.wait();
    }
}
