//! How the fields of a message are written. `docs/wire.md` is the specification.
//!
//! Integers are big-endian. A string is its length in two bytes and that many bytes of UTF-8. An
//! optional value is a byte 0 or 1 and, after 1, the value. A list is its length in one byte and its
//! elements. Nothing may follow the last field.

use std::fmt;
use std::marker::PhantomData;

use crate::secret::Secret;

/// The most bytes that a frame may hold after its length: room for a QR code drawn in UTF-8 (5 KiB) and for a request
/// with every field at its limit.
pub const MAX_FRAME: usize = 16 * 1024;

/// What is wrong with a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It ends inside a field.
    Truncated,
    /// Something follows its last field.
    TrailingBytes,
    /// A string is not UTF-8.
    NotUtf8,
    /// A field is longer than its limit.
    TooLong,
    /// Its type byte is not known.
    UnknownType(u8),
    /// A field holds a value that has no meaning.
    UnknownValue,
    /// The request is in a version that we do not speak.
    UnknownVersion(u8),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Truncated => f.write_str("it ends inside a field"),
            Malformed::TrailingBytes => f.write_str("something follows the last field"),
            Malformed::NotUtf8 => f.write_str("a string is not UTF-8"),
            Malformed::TooLong => f.write_str("a field is too long"),
            Malformed::UnknownType(t) => write!(f, "unknown type {t:#04x}"),
            Malformed::UnknownValue => f.write_str("a field holds an unknown value"),
            Malformed::UnknownVersion(v) => write!(f, "unknown version {v}"),
        }
    }
}

/// A kind of field: how its values are written and read.
pub(crate) trait Field {
    type Value;

    fn write(w: &mut Writer, value: &Self::Value) -> Result<(), Malformed>;

    fn read(r: &mut Reader) -> Result<Self::Value, Malformed>;
}

/// A struct: its fields, one after the other.
macro_rules! record {
    ($name:ident { $($field:ident: $kind:ty),* $(,)? }) => {
        impl Field for $name {
            type Value = $name;

            fn write(w: &mut Writer, value: &$name) -> Result<(), Malformed> {
                let $name { $($field),* } = value;
                $(<$kind>::write(w, $field)?;)*
                Ok(())
            }

            fn read(r: &mut Reader) -> Result<$name, Malformed> {
                Ok($name { $($field: <$kind>::read(r)?),* })
            }
        }
    };
}

/// An enum: the number of the variant in one byte, then its fields. A number that is not in the table gives
/// `unknown`.
macro_rules! choice {
    ($name:ident, unknown: $unknown:expr, $($number:literal => $variant:ident $fields:tt),* $(,)?) => {
        impl Field for $name {
            type Value = $name;

            fn write(w: &mut Writer, value: &$name) -> Result<(), Malformed> {
                match value {
                    $($crate::codec::variant!(pattern $name $variant $fields) => {
                        u8::write(w, &$number)?;
                        $crate::codec::variant!(write w $fields);
                    })*
                }
                Ok(())
            }

            fn read(r: &mut Reader) -> Result<$name, Malformed> {
                Ok(match u8::read(r)? {
                    $($number => $crate::codec::variant!(read r $name $variant $fields),)*
                    other => return Err($unknown(other)),
                })
            }
        }
    };
}

/// One variant of a [`choice`]. Its fields have names or positions; a variant without fields is written with empty
/// braces.
/// Behind a `;` stands a field that is not written, since the number tells its value: two numbers may be one variant.
macro_rules! variant {
    (pattern $name:ident $variant:ident { $($field:ident: $kind:ty),* $(; $told:ident: $value:literal)? }) => {
        $name::$variant { $($field,)* $($told: $value)? }
    };
    (pattern $name:ident $variant:ident ( $($field:ident: $kind:ty),* )) => { $name::$variant($($field),*) };
    (write $w:ident { $($field:ident: $kind:ty),* $(; $told:ident: $value:literal)? }) => {
        $(<$kind>::write($w, $field)?;)*
    };
    (write $w:ident ( $($field:ident: $kind:ty),* )) => { $(<$kind>::write($w, $field)?;)* };
    (read $r:ident $name:ident $variant:ident { $($field:ident: $kind:ty),* $(; $told:ident: $value:literal)? }) => {
        $name::$variant { $($field: <$kind>::read($r)?,)* $($told: $value)? }
    };
    (read $r:ident $name:ident $variant:ident ( $($field:ident: $kind:ty),* )) => {
        $name::$variant($(<$kind>::read($r)?),*)
    };
}

pub(crate) use {choice, record, variant};

/// Writes into one buffer that is never reallocated, so wiping the buffer leaves no copy.
pub(crate) struct Writer(Secret);

impl Writer {
    /// A frame that holds this value alone.
    pub(crate) fn frame<F: Field>(value: &F::Value) -> Result<Secret, Malformed> {
        let mut w = Writer(Secret::with_capacity(MAX_FRAME));
        F::write(&mut w, value)?;
        Ok(w.0)
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if self.0.append(bytes) { Ok(()) } else { Err(Malformed::TooLong) }
    }

    fn bytes(&mut self, bytes: &[u8], most: usize) -> Result<(), Malformed> {
        let length = u16::try_from(bytes.len()).map_err(|_| Malformed::TooLong)?;
        if bytes.len() > most {
            return Err(Malformed::TooLong);
        }
        self.raw(&length.to_be_bytes())?;
        self.raw(bytes)
    }
}

/// The bytes of a frame that are not read yet.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The value that a frame holds, and nothing else.
    pub(crate) fn whole<F: Field>(frame: &'a [u8]) -> Result<F::Value, Malformed> {
        let mut r = Reader(frame);
        let value = F::read(&mut r)?;
        if r.0.is_empty() { Ok(value) } else { Err(Malformed::TrailingBytes) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.0.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.0 = tail;
        Ok(*head)
    }

    fn bytes(&mut self, most: usize) -> Result<&'a [u8], Malformed> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        if length > most {
            return Err(Malformed::TooLong);
        }
        let (head, tail) = self.0.split_at_checked(length).ok_or(Malformed::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    fn utf8(&mut self, most: usize) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes(most)?).map_err(|_| Malformed::NotUtf8)
    }
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl Field for $integer {
            type Value = $integer;

            fn write(w: &mut Writer, value: &$integer) -> Result<(), Malformed> {
                w.raw(&value.to_be_bytes())
            }

            fn read(r: &mut Reader) -> Result<$integer, Malformed> {
                r.array().map(<$integer>::from_be_bytes)
            }
        }
    )*};
}

integers! { u8 u32 u64 }

impl Field for bool {
    type Value = bool;

    fn write(w: &mut Writer, value: &bool) -> Result<(), Malformed> {
        u8::write(w, &u8::from(*value))
    }

    fn read(r: &mut Reader) -> Result<bool, Malformed> {
        match u8::read(r)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::UnknownValue),
        }
    }
}

/// Text of at most `MOST` bytes.
pub(crate) struct Text<const MOST: usize>;

impl<const MOST: usize> Field for Text<MOST> {
    type Value = String;

    fn write(w: &mut Writer, text: &String) -> Result<(), Malformed> {
        w.bytes(text.as_bytes(), MOST)
    }

    fn read(r: &mut Reader) -> Result<String, Malformed> {
        r.utf8(MOST).map(str::to_owned)
    }
}

/// At most `MOST` bytes of any value.
pub(crate) struct Bytes<const MOST: usize>;

impl<const MOST: usize> Field for Bytes<MOST> {
    type Value = Vec<u8>;

    fn write(w: &mut Writer, bytes: &Vec<u8>) -> Result<(), Malformed> {
        w.bytes(bytes, MOST)
    }

    fn read(r: &mut Reader) -> Result<Vec<u8>, Malformed> {
        r.bytes(MOST).map(<[u8]>::to_vec)
    }
}

/// At most `MOST` bytes of any value, in a buffer that is wiped.
pub(crate) struct Wiped<const MOST: usize>;

impl<const MOST: usize> Field for Wiped<MOST> {
    type Value = Secret;

    fn write(w: &mut Writer, secret: &Secret) -> Result<(), Malformed> {
        w.bytes(secret.bytes(), MOST)
    }

    fn read(r: &mut Reader) -> Result<Secret, Malformed> {
        r.bytes(MOST).map(Secret::copy_of)
    }
}

/// Text of at most `MOST` bytes, in a buffer that is wiped.
pub(crate) struct WipedText<const MOST: usize>;

impl<const MOST: usize> Field for WipedText<MOST> {
    type Value = Secret;

    fn write(w: &mut Writer, secret: &Secret) -> Result<(), Malformed> {
        w.bytes(secret.bytes(), MOST)
    }

    fn read(r: &mut Reader) -> Result<Secret, Malformed> {
        r.utf8(MOST).map(|text| Secret::copy_of(text.as_bytes()))
    }
}

/// A value that may be absent.
pub(crate) struct Maybe<F>(PhantomData<F>);

impl<F: Field> Field for Maybe<F> {
    type Value = Option<F::Value>;

    fn write(w: &mut Writer, value: &Option<F::Value>) -> Result<(), Malformed> {
        bool::write(w, &value.is_some())?;
        value.as_ref().map_or(Ok(()), |value| F::write(w, value))
    }

    fn read(r: &mut Reader) -> Result<Option<F::Value>, Malformed> {
        if bool::read(r)? { F::read(r).map(Some) } else { Ok(None) }
    }
}

/// A list of at most `MOST` elements.
pub(crate) struct Many<F, const MOST: usize>(PhantomData<F>);

impl<F: Field, const MOST: usize> Field for Many<F, MOST> {
    type Value = Vec<F::Value>;

    fn write(w: &mut Writer, values: &Vec<F::Value>) -> Result<(), Malformed> {
        let length = u8::try_from(values.len()).map_err(|_| Malformed::TooLong)?;
        if values.len() > MOST {
            return Err(Malformed::TooLong);
        }
        u8::write(w, &length)?;
        values.iter().try_for_each(|value| F::write(w, value))
    }

    fn read(r: &mut Reader) -> Result<Vec<F::Value>, Malformed> {
        let length = usize::from(u8::read(r)?);
        if length > MOST {
            return Err(Malformed::TooLong);
        }
        (0..length).map(|_| F::read(r)).collect()
    }
}
