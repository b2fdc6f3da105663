package console

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
)

// Color is a terminal color for a word such as "ready" or "damaged": an escape sequence.
type Color string

// Green is for good states, Yellow for warnings, Red for failures.
const (
	Green  Color = "\x1b[32m"
	Yellow Color = "\x1b[33m"
	Red    Color = "\x1b[31m"
)

const endOfColor = "\x1b[0m"

// hasColor reports whether w is a terminal that shows colors. The user can disable them with
// NO_COLOR (https://no-color.org) or TERM=dumb.
func hasColor(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && IsTerminal(w)
}

// Paint returns text in color c if w shows colors, otherwise unchanged.
func Paint(w io.Writer, c Color, text string) string {
	if c == "" || !hasColor(w) {
		return text
	}
	return string(c) + text + endOfColor
}

// PrintLine prints a line. If w shows colors and the line contains a state, such as "damaged", the
// state is colored.
func PrintLine(w io.Writer, line any) {
	text := fmt.Sprint(line)
	if hasColor(w) {
		text = string(paintLine([]byte(text)))
	}
	fmt.Fprintln(w, text)
}

// state is a pattern for lines that contain a state, such as "damaged". The part of the line that
// matches the pattern's first group gets the color.
type state struct {
	pattern *regexp.Regexp
	color   Color
}

// states are the patterns for lines that contain a state. The first that matches sets the color.
var states = []state{
	{regexp.MustCompile(`^\s{2}(missing|failing|incomplete|failed)\s{2,}`), Red},
	{regexp.MustCompile(`^\s{2}(waiting)\s{2,}`), Yellow},
	{regexp.MustCompile(`^\s{2}(ready|published|pushed|pruned|removed)\s{2,}`), Green},
	{regexp.MustCompile(`^(No problems)\.`), Green},
	{regexp.MustCompile(`^\s*(?:layoutproxy: )?(damaged|incomplete or damaged|incomplete|illegal-name|missing|failed|missing in [^:]*|wrong [^:]*): `), Red},
	{regexp.MustCompile(`^\s*(?:layoutproxy: )?(conflict|limited|warning|unknown|left out|not compared|note)\b[^:]*: `), Yellow},
	{regexp.MustCompile(`^(complete): `), Green},
	{regexp.MustCompile(`^(published|nothing new|nothing to push)\b`), Green},
	{regexp.MustCompile(`^(?:module )?[^ :]+: (not ready|not complete)\b`), Red},
	{regexp.MustCompile(`^(?:module )?[^ :]+: (ready|complete)\b`), Green},
	{regexp.MustCompile(`; (not ready\b.*)$`), Red},
	{regexp.MustCompile(`distinct declared digests?; (ready\b.*)$`), Green},
	{regexp.MustCompile(`^compared .*: (\d+ differences?)$`), Red},
	{regexp.MustCompile(`^compared .*: (all there|the registry has everything that was compared)$`), Green},
}

// paintLine colors the state in a line. A line without a state stays as it is.
func paintLine(line []byte) []byte {
	if bytes.ContainsRune(line, '\x1b') { // the line already has colors
		return line
	}
	for _, s := range states {
		if at := s.pattern.FindSubmatchIndex(line); at != nil {
			return []byte(string(line[:at[2]]) + string(s.color) + string(line[at[2]:at[3]]) + endOfColor + string(line[at[3]:]))
		}
	}
	return line
}

// painter is a writer that colors the states in a text before it reaches the terminal.
type painter struct {
	w    io.Writer
	line []byte // the beginning of a line whose end has not been written yet
}

func (p *painter) Write(text []byte) (int, error) {
	p.line = append(p.line, text...)
	for {
		line, rest, found := bytes.Cut(p.line, []byte("\n"))
		if !found {
			return len(text), nil
		}
		if _, err := p.w.Write(append(bytes.Clone(paintLine(line)), '\n')); err != nil {
			return 0, err
		}
		p.line = rest
	}
}

// flush writes the last line, if the text does not end with a newline.
func (p *painter) flush() error {
	_, err := p.w.Write(p.line)
	p.line = nil
	return err
}
