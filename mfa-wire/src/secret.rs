//! A buffer that is wiped when it is dropped.

/// Bytes that must not outlive their use: answers, keys, and every frame that may hold one.
///
/// No `Debug`, no `Display`, no `Clone`, so that a secret is moved and never copied by accident. The buffer never
/// grows beyond the capacity it was made with, because a reallocation would leave a copy behind.
#[derive(Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// An empty buffer that can take `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Secret(Vec::with_capacity(capacity))
    }

    /// Copies `bytes`. The caller must wipe the original.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Secret(bytes.to_vec())
    }

    /// `len` zero bytes, to be read into.
    pub fn zeroed(len: usize) -> Self {
        Secret(vec![0; len])
    }

    /// Appends, and returns whether the bytes fitted. If they do not fit, nothing is appended.
    #[must_use]
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        let fits = bytes.len() <= self.0.capacity() - self.0.len();
        if fits {
            self.0.extend_from_slice(bytes);
        }
        fits
    }

    /// Removes and wipes the last byte.
    pub fn pop(&mut self) {
        if let Some(last) = self.0.last_mut() {
            *last = 0;
            self.0.pop();
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be read into or changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// The bytes as text, if they are UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // Keeps the compiler from removing the stores because the memory is freed next.
        std::hint::black_box(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_grows_and_so_never_leaves_a_copy() {
        let mut secret = Secret::with_capacity(4);
        assert!(secret.append(b"492"));
        assert!(!secret.append(b"039"), "would have reallocated");
        assert_eq!(secret.bytes(), b"492");
    }
}
