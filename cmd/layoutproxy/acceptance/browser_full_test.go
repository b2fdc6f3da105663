//go:build full

package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdpage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// browser is a tab of Debian's Chromium. It records requests and what the browser logs.
type browser struct {
	t   *testing.T
	ctx context.Context
	at  string // origin of the server, as http://host:port

	mu       sync.Mutex
	requests []string
	messages []string    // log entries of the browser, and exceptions that no script caught
	events   []time.Time // when each server-sent event arrived
	bytes    float64     // number of bytes received
}

// newBrowser opens a tab. The test fails if the page uses another host, or if the browser logs anything but a 404.
func newBrowser(t *testing.T, origin string) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(packaged(t, "chromium")), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.Flag("hide-scrollbars", true))
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx, at: origin}
	b.try(chromedp.Listen(ctx, b.record))
	b.do(chromedp.Func(func(ctx context.Context, to *chromedp.Target) error {
		_, err := cdp.Call(ctx, to, network.Enable, network.EnableParams{})
		return err
	}))
	t.Cleanup(b.check)
	return b
}

func (b *browser) record(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *network.EventLoadingFinished:
		b.bytes += e.EncodedDataLength
	case *network.EventEventSourceMessageReceived:
		b.events = append(b.events, time.Now())
	case *log.EventEntryAdded:
		b.messages = append(b.messages, e.Entry.Text+" "+e.Entry.URL)
	case *runtime.EventExceptionThrown:
		b.messages = append(b.messages, e.ExceptionDetails.Text)
	}
}

func (b *browser) check() {
	b.mu.Lock()
	defer b.mu.Unlock()
	origin, err := url.Parse(b.at)
	b.try(err)
	for _, r := range b.requests {
		if to, err := url.Parse(r); err != nil || to.Host != origin.Host {
			b.t.Errorf("the page sent a request to another host: %s", r)
		}
	}
	if len(b.requests) == 0 {
		b.t.Error("the browser recorded no request, want at least one")
	}
	for _, m := range b.messages {
		if !strings.Contains(m, "404 (Not Found)") { // this error is expected: a test opens a missing image
			b.t.Errorf("the browser logged %q, want no entry except for an image that is missing", m)
		}
	}
}

func (b *browser) try(err error) {
	b.t.Helper()
	must(b.t, err)
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	b.try(chromedp.Do(b.ctx, actions...))
}

func (b *browser) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.at + path))
}

// ask evaluates JavaScript in the page and returns the result.
func ask[T any](b *browser, script string) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
	return value
}

// wait waits until a JavaScript expression is true in the page.
func (b *browser) wait(what, script string) {
	b.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ask[bool](b, script); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("timeout waiting for %s; the page shows:\n%s", what, ask[string](b, "document.body.innerText"))
		}
	}
}

// text returns the visible text of the first element that matches a CSS selector.
func (b *browser) text(selector string) string {
	b.t.Helper()
	quoted, err := json.Marshal(selector)
	b.try(err)
	return ask[string](b, "document.querySelector("+string(quoted)+").innerText")
}

func (b *browser) key(keys string) { b.t.Helper(); b.do(chromedp.KeyEvent(keys)) }

// theme emulates a "light" or "dark" system theme for the page.
func (b *browser) theme(name string) {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, to *chromedp.Target) error {
		_, err := cdp.Call(ctx, to, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
		return err
	}))
}

func (b *browser) width(pixels int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(pixels, 900))
}

func (b *browser) scripts(on bool) {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, to *chromedp.Target) error {
		_, err := cdp.Call(ctx, to, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
		return err
	}))
}

// screenshots is the directory for screenshots that people can check. Git ignores it.
const screenshots = "screenshots"

func (b *browser) screenshot(name string) {
	b.t.Helper()
	picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	b.try(err)
	layouttest.WriteFile(b.t, filepath.Join(screenshots, name+".png"), picture)
}

// publish saves a screenshot of the top of the page in docs/images. It does nothing if
// LAYOUTPROXY_SCREENSHOTS is not set.
func (b *browser) publish(name string, width, height int) {
	b.t.Helper()
	if os.Getenv("LAYOUTPROXY_SCREENSHOTS") == "" {
		return
	}
	quality := int64(85)
	b.do(chromedp.Func(func(ctx context.Context, to *chromedp.Target) error {
		r, err := cdp.Call(ctx, to, cdpage.CaptureScreenshot, cdpage.CaptureScreenshotParams{Format: cdpage.CaptureScreenshotFormatWebp, Quality: &quality,
			Clip: &cdpage.Viewport{Width: float64(width), Height: float64(height), Scale: 1}})
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(projectDir, "docs/images", name+".webp"), r.Data, 0o644)
	}))
}

// axe returns the source code of axe-core. npm installs the locked version, and runs no scripts.
var axe = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "layoutproxy-axe-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"package.json", "package-lock.json"} {
		data, err := os.ReadFile(filepath.Join("testdata/axe", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o644)
		}
		if err != nil {
			return "", err
		}
	}
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	source, err := os.ReadFile(filepath.Join(dir, "node_modules/axe-core/axe.min.js"))
	return string(source), err
})

// checkAccessibility fails the test if the page violates WCAG 2.2 AA or axe-core's best practices.
func (b *browser) checkAccessibility(what string) {
	b.t.Helper()
	source, err := axe()
	b.try(err)
	ask[bool](b, source+"\n;true")
	found := ask[[]string](b, `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then((r) => {
		if (r.passes.length < 10) throw new Error("only " + r.passes.length + " rules applied");
		return r.violations.map((v) => v.id + ": " + v.help + ": " + v.nodes.slice(0, 3).map((n) => n.html + " " + n.failureSummary).join(" | "));
	})`)
	for _, violation := range found {
		b.t.Errorf("%s: %s", what, violation)
	}
}
