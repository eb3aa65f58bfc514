use super::material::CURRENT;
use super::x509::verify;
use super::*;
use k8s_openapi::ByteString;
use rcgen::{CertificateParams, KeyPair};
use std::collections::BTreeMap;
use time::OffsetDateTime;

const LIVES: Lives = Lives {
    authority: Duration::days(365),
    serving: Duration::days(30),
};

const LONG: Option<Duration> = Some(Duration::HOUR);

fn day(n: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap() + Duration::days(n)
}

fn replaced(step: Step) -> Material {
    let Step::Replace(material) = step else {
        panic!("kept")
    };
    *material
}

#[test]
fn material_reads_back_as_it_was_written() {
    let material = Material::generate(day(0), LIVES).unwrap();
    assert_eq!(Material::read(&material.write()).unwrap(), material);
}

#[test]
fn damaged_material_is_told_from_good() {
    let good = Material::generate(day(0), LIVES).unwrap().write();
    for name in CURRENT {
        for bytes in [&b""[..], b"nonsense", b"\xff"] {
            let mut data = good.clone();
            data.insert(name.into(), ByteString(bytes.to_vec()));
            assert!(Material::read(&data).is_err(), "{name} {bytes:?}");
        }
        let mut data = good.clone();
        data.remove(name);
        assert!(Material::read(&data).is_err(), "{name} removed");
    }
}

#[test]
fn a_successor_is_known_before_it_signs_and_the_old_one_stays_trusted() {
    let first = Material::generate(day(0), LIVES).unwrap();
    assert_eq!(first.step(day(200), LONG, LIVES).unwrap(), Step::Keep);
    let prepared = replaced(first.step(day(250), LONG, LIVES).unwrap());
    assert_eq!(prepared.current, first.current);
    assert_eq!(prepared.bundle().matches("BEGIN CERTIFICATE").count(), 2);
    assert_eq!(
        prepared.step(day(251), None, LIVES).unwrap(),
        Step::Keep,
        "not before the API server knows it"
    );
    assert_eq!(
        prepared
            .step(day(251), Some(Duration::minutes(4)), LIVES)
            .unwrap(),
        Step::Keep,
        "not before every API server had time to see it"
    );
    let promoted = replaced(
        prepared
            .step(day(251), Some(Duration::minutes(5)), LIVES)
            .unwrap(),
    );
    assert_eq!(promoted.current, prepared.next.unwrap());
    assert!(promoted.bundle().contains(&first.bundle()));
    let done = replaced(promoted.step(day(366), LONG, LIVES).unwrap());
    assert_eq!(done.bundle().matches("BEGIN CERTIFICATE").count(), 1);
}

#[test]
fn an_authority_that_ran_out_unattended_is_replaced_at_once() {
    let first = Material::generate(day(0), LIVES).unwrap();
    let new = replaced(first.step(day(400), None, LIVES).unwrap());
    assert_ne!(new.current, first.current);
}

#[test]
fn a_serving_certificate_is_renewed_at_two_thirds_of_its_life_and_when_the_authority_changes() {
    let material = Material::generate(day(0), LIVES).unwrap();
    let serving = Serving::default();
    let names = ["x.ns.svc".to_owned()];
    assert!(!serving.is_loaded());
    assert!(serving.ensure(&material, &names, day(0), LIVES).unwrap());
    assert!(!serving.ensure(&material, &names, day(19), LIVES).unwrap());
    assert!(serving.ensure(&material, &names, day(20), LIVES).unwrap());
    assert!(
        serving
            .ensure(
                &Material::generate(day(1), LIVES).unwrap(),
                &names,
                day(20),
                LIVES
            )
            .unwrap()
    );
}

#[test]
fn parts_of_different_authorities_are_damage() {
    let good = Material::generate(day(0), LIVES).unwrap().write();
    let other = Material::generate(day(1), LIVES).unwrap().write();
    for name in CURRENT {
        let mut data = good.clone();
        data.insert(name.into(), other[name].clone());
        assert!(
            matches!(Material::read(&data), Err(CertificateError::Mismatch(..))),
            "{name}"
        );
    }
    // A certificate that is none of an authority, with the right key.
    let key = std::str::from_utf8(&good["ca.key"].0).unwrap();
    let key = KeyPair::from_pem(key).unwrap();
    let leaf = CertificateParams::new(["x".to_owned()]).unwrap();
    let mut data = good;
    let pem = leaf.self_signed(&key).unwrap().pem();
    data.insert("ca.crt".into(), ByteString(pem.into_bytes()));
    assert!(Material::read(&data).is_err());
}

fn verdict(serving: &Serving, bundle: &str, at: OffsetDateTime) -> Result<(), rustls::Error> {
    let key = serving.with(|signed| signed.unwrap().key.clone());
    verify(&key, "x.ns.svc", bundle, at)
}

#[test]
fn a_client_whose_clock_is_an_hour_off_trusts_what_is_served_at_any_time_of_its_life() {
    let names = ["x.ns.svc".to_owned()];
    let (mut material, serving) = (
        Material::generate(day(0), LIVES).unwrap(),
        Serving::default(),
    );
    let hour = Duration::hours(1);
    // Two years, looked at every day; what the API server has is always what was last published.
    for n in 0..730 {
        let now = day(n);
        if let Step::Replace(next) = material.step(now, LONG, LIVES).unwrap() {
            let before = material.bundle();
            material = *next;
            // A replica that has seen the step already, and an API server that has not, and the other way round.
            let ahead = Serving::default();
            ahead.ensure(&material, &names, now, LIVES).unwrap();
            verdict(&ahead, &before, now).unwrap();
            verdict(&serving, &material.bundle(), now).unwrap();
        }
        serving.ensure(&material, &names, now, LIVES).unwrap();
        for at in [now - hour, now, now + hour] {
            verdict(&serving, &material.bundle(), at)
                .unwrap_or_else(|error| panic!("{error} at {at}, the server's {now}"));
        }
    }
    assert!(verdict(&serving, &material.bundle(), day(900)).is_err());
}

#[test]
fn a_certificate_of_somebody_else_is_served_with_its_end() {
    let key = KeyPair::generate().unwrap();
    for (year, end) in [(2031, 1_924_992_000), (2055, 2_682_374_400)] {
        let mut params = CertificateParams::new(["x.ns.svc".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        let data = BTreeMap::from(
            [
                ("tls.crt", certificate.pem()),
                ("tls.key", key.serialize_pem()),
            ]
            .map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes()))),
        );
        let serving = Serving::default();
        assert!(serving.load(&data).unwrap());
        assert!(!serving.load(&data).unwrap(), "the same is not new");
        assert_eq!(serving.not_after().unwrap().unix_timestamp(), end);
        for name in ["tls.crt", "tls.key"] {
            let mut damaged = data.clone();
            damaged.insert(name.into(), ByteString(b"nonsense".to_vec()));
            assert!(Serving::default().load(&damaged).is_err(), "{name}");
            damaged.remove(name);
            assert!(Serving::default().load(&damaged).is_err(), "{name} removed");
        }
    }
}
