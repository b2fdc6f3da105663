// Package manual writes the manual pages of the commands from their help. Only the program that is
// built with the tag man uses it: see man.go of cmd/layoutproxy.
//
// The pages use the macros of man(7), which groff and mandoc read alike.
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

// Options is the content of the pages in addition to the help.
type Options struct {
	Version string    // of the program
	Date    time.Time // of the release
	Home    string    // the directory that "~" replaces in defaults; may be empty
}

// Write writes one page per command below root, and one for root, into dir, which it creates:
// NAME-COMMAND.1 and NAME.1. The same options give the same bytes.
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

// exitStatus is the section about the exit statuses on each page.
const exitStatus = `.SH EXIT STATUS
.TP
.B 0
done
.TP
.B 1
failed: a source is missing, a port is taken, a registry is unreachable or refuses
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

// pageOf returns the name of the page of a command.
func pageOf(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func page(root, cmd *cobra.Command, o Options) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, ".TH %s 1 %s %s\n", quote(strings.ToUpper(pageOf(cmd))), quote(o.Date.UTC().Format(time.DateOnly)), quote(root.Name()+" "+o.Version))
	b.WriteString(".nh\n.ad l\n") // do not hyphenate names of flags and variables
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

// options writes the flags of a command, group by group.
func options(b *bytes.Buffer, cmd *cobra.Command, home string) {
	b.WriteString(".SH OPTIONS\n")
	cmd.InheritedFlags() // adds them to the flags of the command
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

// defaultOf returns the default of a flag as its help shows it, or empty.
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

// paragraphs writes a text whose paragraphs are separated by empty lines. Indented lines are not
// filled.
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

// lines escapes a text, so that no line is read as a roff request.
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

// escape makes roff print a text unchanged: hyphens stay hyphens, and nothing is read as an escape.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\e`, `-`, `\-`).Replace(text)
}

// quote returns a text as an argument of a request.
func quote(text string) string { return `"` + strings.ReplaceAll(escape(text), `"`, `""`) + `"` }
