//! Layer name patterns: `*` stands for any run of characters, everything else for itself.

/// Whether `name` matches `pattern` as a whole.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The leftmost place leaves most for the parts behind, so no other place needs a try.
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, by recursion.
    fn slow(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|skip| slow(rest, &name[skip..])),
            Some((letter, rest)) => name.first() == Some(letter) && slow(rest, &name[1..]),
        }
    }

    #[test]
    fn stars_stand_for_any_run_and_dots_for_themselves() {
        assert!(matches("layer4.*", "layer4.0.conv1"));
        assert!(!matches("layer4.*", "layer40.conv1"));
        assert!(matches("*conv2", "layer1.0.conv2") && !matches("*conv2", "layer1.0.conv2.x"));
        assert!(matches("fc", "fc") && !matches("fc", "fc2") && !matches("f", "fc"));
        assert!(!matches("ab*b", "ab"));
    }

    proptest! {
        #[test]
        fn agrees_with_the_recursive_definition(pattern in "[ab*]{0,7}", name in "[ab]{0,7}") {
            prop_assert_eq!(matches(&pattern, &name), slow(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
