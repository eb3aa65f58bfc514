//! Values that several commands take.

/// A folder below kubelet's seccomp folder, such as `profiles` or `team/profiles`.
pub fn profiles_dir(text: &str) -> Result<String, String> {
    let plain =
        |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    if text.len() <= 200 && text.split('/').all(plain) {
        Ok(text.to_owned())
    } else {
        Err("must be a relative path such as `profiles`, without `..` and without a slash at either end".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profiles_folder_stays_below_the_seccomp_folder() {
        assert!(profiles_dir("profiles").is_ok() && profiles_dir("a/b").is_ok());
        for bad in ["", "/etc", "..", "a/../b", "a/", "./a"] {
            assert!(profiles_dir(bad).is_err(), "{bad}");
        }
    }
}
