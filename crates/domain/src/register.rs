//! A register of rules as a type: one line a rule, from which follow the variant, its stable id, what it says, and one
//! column more. What a rule means, and when it holds, is told where the register stands.

/// Declares the enumeration of all rules: its name, its two columns of words with their documentation, then a line a rule.
macro_rules! rules {
    (
        $(#[doc = $doc:literal])* $register:ident
        $(#[doc = $first_doc:literal])* $first:ident
        $(#[doc = $second_doc:literal])* $second:ident;
        $($variant:ident $id:literal $first_words:literal $second_words:literal;)*
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $register {
            $(#[doc = $first_words] #[serde(rename = $id)] $variant,)*
        }

        impl $register {
            /// All rules, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Stable name.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$variant => $id),* }
            }

            $(#[doc = $first_doc])*
            pub const fn $first(self) -> &'static str {
                match self { $(Self::$variant => $first_words),* }
            }

            $(#[doc = $second_doc])*
            pub const fn $second(self) -> &'static str {
                match self { $(Self::$variant => $second_words),* }
            }
        }
    };
}

pub(crate) use rules;
