//! Bytes to the recorder, as a runtime would send them: none makes it panic, what it keeps is bounded, no beginning of a message is
//! taken for one, and no message is taken for something else because it comes in pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seccomp_recorder::{MAX_METADATA, MAX_STANDING, MessageError, parse};

const MAX_NAME: usize = 253;

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = parse(bytes) else { return };
    assert!(message.descriptor < message.descriptors && message.descriptors <= 4);
    let subject = &message.subject;
    assert!(!subject.container_id.is_empty() && subject.metadata.len() <= MAX_METADATA);
    assert!(message.standing.text().len() <= MAX_STANDING);
    for name in [&subject.container_id, &subject.namespace, &subject.pod, &subject.pod_uid, &subject.container, &subject.image] {
        assert!(name.len() <= MAX_NAME);
    }
    let end = bytes.iter().rposition(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
    for piece in [end / 2, end] {
        match parse(&bytes[..piece]) {
            Err(MessageError::Incomplete) => {}
            other => panic!("{other:?} of a beginning"),
        }
    }
});
