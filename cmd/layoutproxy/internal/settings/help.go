package settings

import (
	"slices"

	"github.com/spf13/pflag"
)

// FromEnvironment is an annotation for commands whose flags can also be set by environment
// variables. The help of such a command names the variables.
const FromEnvironment = "environment"

// flagNames are the names of the flags in one group of the help.
type flagNames struct {
	title string
	flags []string
}

// flagGroups returns the groups of flags, in the order of the help. The first group gets all flags
// that are in no other group.
func flagGroups() []flagNames {
	return []flagNames{
		{"Flags", nil},
		{"What is pulled", []string{"repository", "tag", "platform", "since-version", "deckhouse-tag", "include-platform", "ignore-suspend", "include-module",
			"exclude-module", "include-package", "exclude-package", "include-plugin", "no-platform", "no-security-db", "no-modules", "no-packages", "no-installer",
			"only-extra-images", "installer-tag", "deckhouse-cli-tag", "skip-vex-images", "proxy-registry"}},
		{"What is judged", []string{"release", "from", "modules", "deep"}},
		{"Form of the bundle", []string{"images-bundle-chunk-size", "gost-digest", "tree"}},
		{"Plan, and what may be missing", []string{"dry-run", "allow-incomplete", "require-ready"}},
		{"Checks and resuming", []string{"skip-preflight", "check-blobs", "state-dir", "no-pull-resume", "tmp-dir"}},
		{"What stays in the store", []string{"deployed", "keep-previous", "keep-release", "keep-newest", "keep-bundle", "keep", "older-than"}},
		{"Plan and removal", []string{"plan", "execute", "yes", "grace", "repack"}},
		{"Leftovers", []string{"leftovers", "max-size"}},
		{"The node", []string{"endpoint", "ca", "override-path", "no-fallback", "hosts-dir"}},
		{"Inventory", []string{"checksums", "diff", "sign-key"}},
		{"Files to write", []string{"write", "remove"}},
		{"Selection", []string{"file", "include", "exclude", "against"}},
		{"Addresses", []string{"listen", "admin-listen", "address-file", "shutdown-timeout", "tls-cert", "tls-key", "client-ca"}},
		{"Login and TLS of the admin address", []string{"admin-htpasswd", "admin-tls-cert", "admin-tls-key"}},
		{"Names of repositories", []string{"root-repository", "index-repository", "no-edition-split", "modules-path-suffix"}},
		{"Sources", []string{"rescan", "settle", "cache-dir", "scrub", "strict", "verify-key"}},
		{"Object storage", []string{"s3-endpoint", "s3-region", "s3-path-style", "s3-ca-file", "s3-write-index", "s3-redirect", "s3-public-endpoint"}},
		{"Who may pull", []string{"htpasswd", "token-realm", "token-service", "token-issuer", "token-root-certs", "token-jwks"}},
		{"Limits per client", []string{"client-rate", "client-burst", "client-connections", "trusted-proxy"}},
		{"Store and imports", []string{"store", "drop-dir", "after-import", "keep-packed", "prune-policy", "prune-at"}},
		{"Push to another registry", []string{"push-to", "push-username", "push-password-stdin", "push-ca-file", "push-client-cert", "push-client-key",
			"push-insecure-skip-tls-verify", "push-plain-http", "push-allow-private-redirects", "push-jobs", "push-retries"}},
		{"Connection to the registry", []string{"username", "password-stdin", "license", "ca-file", "client-cert", "client-key", "insecure-skip-tls-verify", "plain-http",
			"allow-private-redirects", "jobs", "retries"}},
		{"Configuration file", []string{"config", "check-config"}},
		{"Diagnostics", []string{"access-log", "pprof", "trace-endpoint"}},
		{"Output", []string{"output", "log-level", "log-format", "wide", "watch", "help", "version"}},
	}
}

// FlagGroup is a section in the help of a command: flags with a title.
type FlagGroup struct {
	Title string
	Flags *pflag.FlagSet
}

// Groups returns the flags of a command, grouped by their purpose. It omits empty groups. If
// environment is true, the help of each flag also names its environment variable.
func Groups(flags *pflag.FlagSet, environment bool) []FlagGroup {
	groups := flagGroups()
	sets := make([]FlagGroup, len(groups))
	for i := range sets {
		sets[i] = FlagGroup{groups[i].title, pflag.NewFlagSet(groups[i].title, pflag.ContinueOnError)}
	}
	flags.VisitAll(func(f *pflag.Flag) {
		// n is -1 for a flag that is in no group. Such a flag is added to the first group.
		n := slices.IndexFunc(groups, func(g flagNames) bool { return slices.Contains(g.flags, f.Name) })
		shown := *f
		if environment && f.Name != "help" {
			shown.Usage += " [$" + variable(f.Name) + "]"
		}
		sets[max(n, 0)].Flags.AddFlag(&shown)
	})
	return slices.DeleteFunc(sets, func(g FlagGroup) bool { return !g.Flags.HasAvailableFlags() })
}
