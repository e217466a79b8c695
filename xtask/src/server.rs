//! The servers that tests run on.

use clap::ValueEnum;

use crate::debian::Release;

/// What `--servers` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// This machine's MariaDB
    Default,
    /// Debian sid's MySQL, the newest there is
    Mysql,
    /// Debian trixie's MariaDB
    #[value(name = "mariadb-11.8")]
    Mariadb11_8,
    /// Each of them in turn
    All,
}

/// A server that tests can run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// MariaDB as this machine's package manager has it.
    Default,
    /// One of another Debian release, unpacked into a directory.
    Debian(&'static Release),
}

const MYSQL: Release = Release {
    name: "mysql",
    suite: "sid",
    package: "mysql-server-core",
    program: "usr/sbin/mysqld",
    share: "usr/share/mysql",
    // As in production, also with its performance schema and its binary log.
    options: &["--loose-mysqlx=OFF", "--secure-file-priv=", "--sync-binlog=0"],
    system_tables: None,
};

const MARIADB_11_8: Release = Release {
    name: "mariadb-11.8",
    suite: "trixie",
    package: "mariadb-server-core",
    program: "usr/sbin/mariadbd",
    share: "usr/share/mariadb",
    options: &["--skip-log-bin", "--performance-schema=OFF"],
    // In the order that mariadb-install-db reads them.
    system_tables: Some(&[
        "mariadb_system_tables.sql",
        "mariadb_performance_tables.sql",
        "mariadb_system_tables_data.sql",
        "fill_help_tables.sql",
        "maria_add_gis_sp_bootstrap.sql",
        "mariadb_sys_schema.sql",
    ]),
};

impl Server {
    const ALL: [Self; 3] = [Self::Default, Self::Debian(&MYSQL), Self::Debian(&MARIADB_11_8)];

    /// Each server chosen, once.
    pub(crate) fn chosen(choices: &[Choice]) -> Vec<Self> {
        let is_chosen = |server: &Self| {
            choices.iter().any(|choice| match choice {
                Choice::All => true,
                Choice::Default => *server == Self::Default,
                Choice::Mysql => *server == Self::Debian(&MYSQL),
                Choice::Mariadb11_8 => *server == Self::Debian(&MARIADB_11_8),
            })
        };
        Self::ALL.into_iter().filter(is_chosen).collect()
    }

    /// What `--servers` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Debian(release) => release.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_chosen_once_and_by_its_name() {
        let names = |choices: &[Choice]| -> Vec<&str> {
            Server::chosen(choices).into_iter().map(Server::name).collect()
        };
        assert_eq!(names(&[Choice::Mysql, Choice::All]), ["default", "mysql", "mariadb-11.8"]);
        assert_eq!(names(&[Choice::Mysql, Choice::Default, Choice::Mysql]), ["default", "mysql"]);
        for server in Server::ALL {
            let choice = Choice::from_str(server.name(), false).expect("its name is a choice");
            assert_eq!(Server::chosen(&[choice]), [server]);
        }
    }
}
