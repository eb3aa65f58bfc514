//! Records which system calls containers make, by seccomp user notification.
//!
//! A [recording profile](recording_profile) asks a listener about what the profile below it would let happen, and about what that would
//! refuse with an error. The runtime hands the filter's descriptor of each container, and of each process that is executed into one, to a
//! socket, with a [`Message`] that says whose it is and what it stands on. The process behind the socket is the [`Holder`]: it keeps
//! descriptors and counters, and answers nothing. A second process, the [`Recorder`], gets copies of all of them, counts each call, and
//! lets it happen or refuses it as the profile below would. Either may be killed and started again without a call being lost: the
//! descriptors live on in the other, and the counters in memory that both share ([`Snapshot`] is what they say).
//!
//! A second holder on the same folder takes everything over from the first, so that both may be replaced while recordings run.
//!
//! Nothing here knows Kubernetes' API, and nothing needs a capability. What is refused is refused without it too: with nobody to answer,
//! every call that is asked about fails.

mod answer;
mod arguments;
mod assumed;
mod folder;
mod hold;
mod intake;
mod ledger;
mod link;
mod message;
mod poller;
mod profile;
mod record;
mod register;
mod sys;
mod trial;

pub use answer::{MAX_STANDING, Standing};
pub use arguments::{ARGUMENTS, MAX_VALUES};
pub use assumed::{assumed, is_assumed};
pub use folder::Folder;
pub use hold::Holder;
pub use ledger::{Arguments, Count, Counts};
pub use message::{MAX_MESSAGE, Message, MessageError, Subject, parse};
pub use profile::{MAX_METADATA, NoRecording, observed_profile, recording_profile};
pub use record::{Control, Recorded, Recorder, Snapshot};
pub use trial::Versions;
