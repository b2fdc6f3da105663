// Package manual writes manual pages for the commands from their help. Only a program that is built
// with the tag man uses it (man.go in cmd/layoutproxy).
//
// The pages use the macros of man(7), which groff and mandoc understand.
package manual

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
)

// Options contains what the pages show in addition to the help.
type Options struct {
	Version string    // Version of layoutproxy.
	Date    time.Time // Date of the release.
	Home    string    // Home directory, shown as "~" in defaults of flags; may be empty.
}

// Write writes the manual pages into dir, which it creates: NAME.1 for root, and NAME-COMMAND.1 for
// each command. The same options give the same bytes.
func Write(root *cobra.Command, dir string, o Options) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, cmd := range append([]*cobra.Command{root}, root.Commands()...) {
		if cmd != root && !cmd.IsAvailableCommand() {
			continue
		}
		file := filepath.Join(dir, pageOf(cmd)+".1")
		if err := os.WriteFile(file, page(root, cmd, o), 0o644); err != nil { //nolint:gosec // pages are for everybody
			return err
		}
	}
	return nil
}

const exitStatus = `.SH EXIT STATUS
.TP
.B 0
done
.TP
.B 1
failed: a source is missing, a port is taken, a registry is unreachable or refuses a request
.TP
.B 2
wrong usage
.TP
.B 3
content is damaged, incomplete or different
.TP
.B 130
interrupted: run the same import, push or pull again, and it resumes
`

// pageOf returns the name of a command's page, without the extension.
func pageOf(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func page(root, cmd *cobra.Command, o Options) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, ".TH %s 1 %s %s\n", quote(strings.ToUpper(pageOf(cmd))), quote(o.Date.UTC().Format(time.DateOnly)), quote(root.Name()+" "+o.Version))
	b.WriteString(".nh\n.ad l\n") // without hyphenation, which would change the names of flags and variables
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", escape(pageOf(cmd)), escape(cmd.Short))
	b.WriteString(".SH SYNOPSIS\n")
	usage := cmd.UseLine()
	if cmd == root {
		usage = root.Name() + " COMMAND [ARGUMENT...] [flags]"
	}
	fmt.Fprintf(&b, ".B %s\n.SH DESCRIPTION\n", escape(usage))
	description := cmd.Long
	if description == "" {
		description = cmd.Short + "."
	}
	paragraphs(&b, description)
	if cmd == root {
		b.WriteString(".SH COMMANDS\n")
		for _, c := range root.Commands() {
			if c.IsAvailableCommand() {
				fmt.Fprintf(&b, ".TP\n.BR %s (1)\n%s\n", escape(pageOf(c)), escape(c.Short))
			}
		}
	}
	options(&b, cmd, o.Home)
	fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", lines(strings.ReplaceAll("\n"+cmd.Example, "\n  ", "\n")[1:]))
	b.WriteString(exitStatus)
	b.WriteString(".SH SEE ALSO\n")
	if cmd != root {
		fmt.Fprintf(&b, ".BR %s (1)\n", escape(root.Name()))
		return b.Bytes()
	}
	fmt.Fprintf(&b, ".B %s COMMAND \\-\\-help\n", escape(root.Name()))
	return b.Bytes()
}

func options(b *bytes.Buffer, cmd *cobra.Command, home string) {
	b.WriteString(".SH OPTIONS\n")
	cmd.InheritedFlags() // As a side effect, this adds inherited flags to cmd.Flags().
	for _, g := range settings.Groups(cmd.Flags(), cmd.Annotations[settings.FromEnvironment] != "") {
		fmt.Fprintf(b, ".SS %s\n", escape(g.Title))
		g.Flags.VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			value, usage := pflag.UnquoteUsage(f)
			names := "--" + f.Name
			if f.Shorthand != "" {
				names = "-" + f.Shorthand + ", " + names
			}
			fmt.Fprintf(b, ".TP\n.B %s", escape(names))
			if value != "" {
				fmt.Fprintf(b, " \\fI%s\\fR", escape(value))
			}
			if by := defaultOf(f, home); by != "" {
				usage += " (default " + by + ")"
			}
			fmt.Fprintf(b, "\n%s\n", lines(usage))
		})
	}
}

// defaultOf returns the default of a flag as the help shows it, but with ~ for home. It returns "" for none.
func defaultOf(f *pflag.Flag, home string) string {
	switch f.DefValue {
	case "", "false", "0", "[]", "0s":
		return ""
	}
	if home != "" && strings.HasPrefix(f.DefValue, home+string(filepath.Separator)) {
		return "~" + filepath.ToSlash(strings.TrimPrefix(f.DefValue, home))
	}
	return f.DefValue
}

// paragraphs writes a text. Empty lines separate paragraphs. Indented lines keep their line ends.
func paragraphs(b *bytes.Buffer, text string) {
	for p := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		b.WriteString(".PP\n")
		filled := true
		for line := range strings.SplitSeq(p, "\n") {
			if indented := strings.HasPrefix(line, " "); indented == filled {
				b.WriteString(map[bool]string{true: ".nf\n", false: ".fi\n"}[indented])
				filled = !indented
			}
			fmt.Fprintf(b, "%s\n", lines(line))
		}
		if !filled {
			b.WriteString(".fi\n")
		}
	}
}

// lines escapes a text of several lines, so that roff does not read a line as a request.
func lines(text string) string {
	var all []string
	for line := range strings.SplitSeq(text, "\n") {
		line = escape(line)
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			line = `\&` + line
		}
		all = append(all, line)
	}
	return strings.Join(all, "\n")
}

// escape returns a text that roff prints unchanged: it escapes backslashes and hyphens.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\e`, `-`, `\-`).Replace(text)
}

// quote returns a text as a quoted argument of a roff request.
func quote(text string) string { return `"` + strings.ReplaceAll(escape(text), `"`, `""`) + `"` }
