package console

import (
	"io"
	"os"
)

// Color is the color of a state on a terminal.
type Color string

// The colors of states, as escape sequences of a terminal.
const (
	Green  Color = "\x1b[32m"
	Yellow Color = "\x1b[33m"
	Red    Color = "\x1b[31m"
)

const endOfColor = "\x1b[0m"

// Paint colors a text for a writer, if that is a terminal with colors and NO_COLOR is not set
// (https://no-color.org).
func Paint(w io.Writer, c Color, text string) string {
	if c == "" || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || !IsTerminal(w) {
		return text
	}
	return string(c) + text + endOfColor
}
