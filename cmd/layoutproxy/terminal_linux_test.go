package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// terminal opens a pseudoterminal with a number of columns. screen is the side of the user, program
// the side of the program.
func terminal(t *testing.T, columns uint16) (screen, program *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	layouttest.Try(t, err)
	t.Cleanup(func() { screen.Close() })
	fd := int(screen.Fd())
	layouttest.Try(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	layouttest.Try(t, err)
	layouttest.Try(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: columns}))
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	layouttest.Try(t, err)
	modes, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
	layouttest.Try(t, err)
	// Without NOFLSH, Linux discards unread output when the user presses Ctrl-C. It sends the signal first
	// (isig in drivers/tty/n_tty.c), so it could also discard what the program writes after the signal.
	modes.Lflag |= unix.NOFLSH
	layouttest.Try(t, unix.IoctlSetTermios(int(program.Fd()), unix.TCSETS, modes))
	return screen, program
}

// interrupt runs the program on a terminal, and presses Ctrl-C when the output matches pattern.
// It returns the complete output and the exit status.
func interrupt(t *testing.T, columns uint16, pattern string, args ...string) (string, int) {
	t.Helper()
	ready, pressed := regexp.MustCompile(pattern), false
	wrote, status := onTerminal(t, columns, program(t, args...), func(screen *os.File, wrote string) {
		if !pressed && ready.MatchString(wrote) {
			pressed = true
			if _, err := screen.Write([]byte{3}); err != nil { // Ctrl-C
				t.Fatal(err)
			}
		}
	})
	if !pressed {
		t.Fatalf("the output is %q, want it to match %q", wrote, pattern)
	}
	return wrote, status
}

// onTerminal runs a command on a terminal. It calls watch with the output so far, and returns the
// complete output and the exit status.
func onTerminal(t *testing.T, columns uint16, cmd *exec.Cmd, watch func(screen *os.File, wrote string)) (string, int) {
	t.Helper()
	screen, tty := terminal(t, columns)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	layouttest.Try(t, cmd.Start())
	layouttest.Try(t, tty.Close())
	var wrote strings.Builder
	for buffer := make([]byte, 1<<16); ; {
		n, err := screen.Read(buffer)
		wrote.Write(buffer[:n])
		watch(screen, wrote.String())
		if err != nil { // Reading fails with EIO when the program has ended.
			break
		}
	}
	err := cmd.Wait()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		t.Fatal(err)
	}
	return wrote.String(), cmd.ProcessState.ExitCode()
}

// shown returns the lines that a terminal with that many columns shows after text was written to it,
// and the column of the cursor. It fails the test if it does not know an escape sequence in text.
func shown(t *testing.T, text string, columns int) (lines []string, cursor int) {
	t.Helper()
	rows, row, col := [][]rune{nil}, 0, 0
	sequence := regexp.MustCompile(`^\x1b\[(\d*)([AJKm])`)
	for len(text) > 0 {
		if m := sequence.FindStringSubmatch(text); m != nil {
			text = text[len(m[0]):]
			switch m[2] {
			case "A":
				n, err := strconv.Atoi(m[1])
				layouttest.Try(t, err)
				row = max(0, row-n)
			case "J":
				rows = rows[:row+1]
				rows[row] = rows[row][:min(col, len(rows[row]))]
			case "K":
				rows[row] = rows[row][:min(col, len(rows[row]))]
			}
			continue
		}
		r := []rune(text)[0]
		text = text[len(string(r)):]
		if r == '\x1b' {
			t.Fatalf("after an escape character, the program writes %q, want only escape sequences that shown knows", text[:min(20, len(text))])
		}
		if r == '\n' || r >= ' ' && col == columns {
			if row++; row == len(rows) {
				rows = append(rows, nil)
			}
		}
		switch {
		case r == '\r', col == columns:
			col = 0
		}
		if r >= ' ' {
			for len(rows[row]) <= col {
				rows[row] = append(rows[row], ' ')
			}
			rows[row][col] = r
			col++
		}
	}
	for _, r := range rows {
		lines = append(lines, strings.TrimRight(string(r), " "))
	}
	return lines, col
}

// After Ctrl-C, the terminal shows messages and no bars, and the cursor is at the start of a line.
// Bars are labelled with repositories, not with digests.
func TestCtrlCLeavesNoBarsOnTerminal(t *testing.T) {
	t.Parallel()
	const columns = 90
	dir := t.TempDir()
	l := layouttest.New(t, dir).Layout("modules/console") // After Ctrl-C, a pull does not complete such a large blob.
	l.Tag(l.Image(layouttest.Image{Name: "console", LayerSizes: []int64{17 << 20}}), "v1.0.0")
	l.Write()
	stalling := func(kind string) string {
		r := registrytest.New(t, registrytest.Options{})
		if out, err := program(t, "push", dir, r.Host+"/deckhouse/ee", "--cache-dir", "").CombinedOutput(); err != nil {
			t.Fatalf("pushing before the registry stalls: got the error %v, want none: %s", err, out)
		}
		stall, release := registrytest.Stall(registrytest.On(kind))
		t.Cleanup(release)
		r.Inject(stall)
		return r.Host
	}
	for name, test := range map[string]struct {
		args []string
		when string
	}{
		"push":   {[]string{"push", dir, stalling("PUT uploads") + "/other", "--skip-preflight"}, `modules/console .*\[`},
		"pull":   {[]string{"pull", stalling("GET blobs") + "/deckhouse/ee", t.TempDir(), "--repository", "modules/console"}, `modules/console .*\[`},
		"import": {[]string{"import", endlessArchive(t), "--store", filepath.Join(t.TempDir(), "store"), "--keep-packed"}, `importing .*\[`},
		"verify": {[]string{"verify", endless(t)}, `verifying .*\[`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wrote, status := interrupt(t, columns, test.when, test.args...)
			if status != 130 {
				t.Errorf("exit status is %d, want 130; output: %q", status, wrote)
			}
			if regexp.MustCompile(`[0-9a-f]{12}.*\[`).MatchString(wrote) {
				t.Errorf("the output is %q, want no digest in a bar", wrote)
			}
			lines, cursor := shown(t, withoutLateEcho(wrote), columns)
			left := slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "[") || strings.Contains(l, "^C") })
			said := slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "layoutproxy: interrupted") })
			if left || !said || cursor != 0 || lines[len(lines)-1] != "" {
				t.Errorf("after Ctrl-C, the cursor is in column %d, want 0; the terminal shows\n%s\nwant \"layoutproxy: interrupted\", neither bars nor ^C, and an empty last line; the output is %q", cursor, strings.Join(lines, "\n"), wrote)
			}
		})
	}
}

// withoutLateEcho removes the ^C from text if it comes after the start of the last message. Linux
// sends the signal before it prints ^C (n_tty_receive_signal_char in drivers/tty/n_tty.c), so a
// program that ends at once can write its messages first. A ^C before them stays in the text: the
// messages must overwrite it.
func withoutLateEcho(text string) string {
	const last = "\rlayoutproxy: interrupted"
	before, after, ended := strings.Cut(text, last)
	if !ended {
		return text
	}
	return before + last + strings.Replace(after, "^C", "", 1)
}

// endlessArchive returns an archive with the same layout as the tree that endless returns. The
// archive takes little disk space: the blob is a hole in the file.
func endlessArchive(t *testing.T) string {
	t.Helper()
	layout := filepath.Join(endless(t), "a")
	var entries []layouttest.Entry
	layouttest.Try(t, filepath.WalkDir(layout, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(layout, path)
		layouttest.Try(t, err)
		info, err := d.Info()
		layouttest.Try(t, err)
		e := layouttest.File("a/"+name, nil)
		if e.Size = info.Size(); e.Size < 1<<20 {
			e.Body, err = os.ReadFile(path)
		}
		entries = append(entries, e)
		return err
	}))
	file := filepath.Join(t.TempDir(), "endless.tar")
	layouttest.Tar(t, file, entries...)
	return file
}

// On a terminal, words such as "ready" and "damaged" have colors, unless NO_COLOR is set
// (https://no-color.org).
func TestStatesAreColoredUnlessNoColor(t *testing.T) {
	t.Parallel()
	const red, green = "\x1b[31m", "\x1b[32m"
	good, broken := "testdata/d8", filepath.Join(t.TempDir(), "bundle")
	layouttest.Try(t, os.CopyFS(broken, os.DirFS(good)))
	layouttest.Try(t, os.Truncate(filepath.Join(broken, "module-console.tar"), 100_000))
	r := registrytest.New(t, registrytest.Options{})
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"list", broken}, red + "incomplete"},
		{[]string{"verify", broken}, red + "incomplete or damaged"},
		{[]string{"verify", good}, green + "complete"},
		{[]string{"ready", broken}, red + "not ready"},
		{[]string{"ready", good}, green + "ready"},
		{[]string{"import", good, "--store", filepath.Join(t.TempDir(), "store")}, green + "published"},
		{[]string{"push", broken, r.Host + "/deckhouse/ee"}, red + "incomplete"},
		{[]string{"doctor", r.URL, "--hosts-dir", "none"}, green + "ok"},
	} {
		variables := []string{"NO_COLOR=", "NO_COLOR=1"}
		if strings.HasPrefix(test.want, green) {
			variables = variables[:1] // NO_COLOR=1 is tested only with the commands that print red.
		}
		for _, variable := range variables {
			cmd := program(t, test.args...)
			cmd.Env = append(cmd.Env, "TERM=xterm", variable)
			wrote, _ := onTerminal(t, 90, cmd, func(*os.File, string) {})
			if colors := strings.Contains(wrote, test.want); colors != (variable == "NO_COLOR=") || !colors && strings.Contains(wrote, "\x1b[3") {
				t.Errorf("%s layoutproxy %q prints %q, want %q unless NO_COLOR is set", variable, test.args, wrote, test.want)
			}
		}
	}
}
