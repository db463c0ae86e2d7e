//! The description of settings: one place from which the structs, the readers, the example files and the documentation
//! come. A test compares the files with it.

use super::error::{SettingsError, Unfit};
use super::layers::Values;
use super::value::{Given, SettingValue, Shape};

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apply {
    /// At SIGHUP (`systemctl reload`).
    Reload,
    /// At the next start.
    Restart,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Name with those of its tables, such as `xmpp.listen`.
    pub path: &'static str,
    /// Default as a text; `None` where there is none.
    pub default: Option<&'static str>,
    /// Whether the program cannot do without a value.
    pub required: bool,
    /// What is accepted.
    pub accepted: &'static str,
    /// How it is written in TOML.
    pub shape: Shape,
    /// Whether its value must never be shown.
    pub secret: bool,
    /// When a changed value takes effect.
    pub apply: Apply,
    /// What it does, line by line.
    pub doc: &'static [&'static str],
    /// Whether a value fits.
    pub check: fn(&Given) -> Result<(), Unfit>,
}

impl Key {
    /// Name of the environment variable: `xmpp.listen` is `OSA_XMPP_LISTEN`.
    pub fn variable(&self) -> String {
        format!("OSA_{}", self.path.replace('.', "_").to_ascii_uppercase())
    }

    /// The default as TOML.
    pub fn default_toml(&self) -> Option<String> {
        let quoted = |text: &str| format!("{text:?}");
        self.default.map(|default| match self.shape {
            Shape::Bare => default.to_owned(),
            Shape::Quoted => quoted(default),
            Shape::List => {
                let parts: Vec<String> = default.split(',').map(quoted).collect();
                format!("[{}]", parts.join(", "))
            }
        })
    }
}

/// The settings of one TOML table.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Name of the table with a dot behind it; empty for the keys outside of tables.
    pub prefix: &'static str,
    /// What they are about.
    pub doc: &'static [&'static str],
    /// The settings.
    pub keys: &'static [Key],
}

/// All settings of one program.
pub trait Schema: Sized {
    /// Its groups, in the order of the documentation.
    const GROUPS: &'static [Group];

    /// Takes the values into the struct.
    ///
    /// # Errors
    /// A value that is missing or does not fit.
    fn from_values(values: &Values) -> Result<Self, SettingsError>;

    /// All keys.
    fn keys() -> impl Iterator<Item = &'static Key> {
        Self::GROUPS.iter().flat_map(|group| group.keys)
    }
}

/// A field of a settings struct: a value, or an optional one.
pub trait Field: Sized {
    /// What is accepted.
    const ACCEPTED: &'static str;
    /// How it is written in TOML.
    const SHAPE: Shape;
    /// Whether it must never be shown.
    const SECRET: bool;
    /// Whether the program cannot do without it.
    const REQUIRED: bool;

    /// Reads the field; `Ok(None)` if it has no value but needs one.
    ///
    /// # Errors
    /// [`Unfit`] if the value has another form.
    fn read_field(given: Option<&Given>) -> Result<Option<Self>, Unfit>;

    /// Whether a value fits.
    ///
    /// # Errors
    /// [`Unfit`] if not.
    fn check(given: &Given) -> Result<(), Unfit> {
        Self::read_field(Some(given)).map(|_| ())
    }
}

impl<T: SettingValue> Field for T {
    const ACCEPTED: &'static str = T::ACCEPTED;
    const SHAPE: Shape = T::SHAPE;
    const SECRET: bool = T::SECRET;
    const REQUIRED: bool = true;

    fn read_field(given: Option<&Given>) -> Result<Option<Self>, Unfit> {
        given.map(T::read).transpose()
    }
}

/// An empty text is the same as no value, so that a higher layer can take back what a lower one gives.
impl<T: SettingValue> Field for Option<T> {
    const ACCEPTED: &'static str = T::ACCEPTED;
    const SHAPE: Shape = T::SHAPE;
    const SECRET: bool = T::SECRET;
    const REQUIRED: bool = false;

    fn read_field(given: Option<&Given>) -> Result<Option<Self>, Unfit> {
        match given {
            Some(Given::Text(text)) if text.trim().is_empty() => Ok(Some(None)),
            Some(given) => T::read(given).map(|value| Some(Some(value))),
            None => Ok(Some(None)),
        }
    }
}

/// Declares a group of settings: struct, keys and reader from one text.
///
/// `field: Type = default, Reload | Restart;` where `default` is `Some("text")` or `None`. A field with `#[cfg(…)]` exists in
/// such builds only. A struct `with` other groups is the whole of a program's settings.
macro_rules! settings {
    (
        $(#[doc = $group_doc:literal])+
        pub struct $name:ident in $prefix:literal {
            $($(#[doc = $doc:literal])+ $(#[cfg($only:meta)])? $field:ident : $type:ty = $default:expr, $apply:ident;)+
        }
        $(with { $($(#[doc = $sub_doc:literal])+ $sub:ident : $sub_type:ty,)+ })?
    ) => {
        $(#[doc = $group_doc])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[doc = $doc])+ $(#[cfg($only)])? pub $field: $type,)+
            $($($(#[doc = $sub_doc])+ pub $sub: $sub_type,)+)?
        }

        impl $crate::settings::schema::Schema for $name {
            const GROUPS: &'static [$crate::settings::schema::Group] = &[
                $crate::settings::schema::Group {
                    prefix: $prefix,
                    doc: &[$($group_doc),+],
                    keys: &[$($(#[cfg($only)])? $crate::settings::schema::Key {
                        path: concat!($prefix, stringify!($field)),
                        default: $default,
                        required: <$type as $crate::settings::schema::Field>::REQUIRED,
                        accepted: <$type as $crate::settings::schema::Field>::ACCEPTED,
                        shape: <$type as $crate::settings::schema::Field>::SHAPE,
                        secret: <$type as $crate::settings::schema::Field>::SECRET,
                        apply: $crate::settings::schema::Apply::$apply,
                        doc: &[$($doc),+],
                        check: <$type as $crate::settings::schema::Field>::check,
                    }),+],
                },
                $($(<$sub_type as $crate::settings::schema::Schema>::GROUPS[0],)+)?
            ];

            fn from_values(
                values: &$crate::settings::layers::Values,
            ) -> Result<Self, $crate::settings::error::SettingsError> {
                Ok(Self {
                    $($(#[cfg($only)])? $field: values.read(concat!($prefix, stringify!($field)))?,)+
                    $($($sub: $crate::settings::schema::Schema::from_values(values)?,)+)?
                })
            }
        }
    };
}
pub(super) use settings;
