package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
)

// FuzzTagList checks that no answer makes a list longer than the limit, and that every list without
// an error has the entries that encoding/json decodes.
func FuzzTagList(f *testing.F) {
	for _, body := range []string{`{"name":"a","tags":["v1","v2"]}`, `{"tags":null}`, `{"tags":[1]}`, `{"tags":"v1"}`, `[]`, `<html>`, `{"tags":["a","b","c","d"]}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		const limit = 3
		all, err := entries[string](nil, body, limit, func(p page) json.RawMessage { return p.Tags })
		if len(all) > limit {
			t.Errorf("got a list of %d entries, want at most %d", len(all), limit)
		}
		if err != nil {
			return
		}
		var want struct{ Tags []string }
		if err := json.Unmarshal(body, &want); err != nil || fmt.Sprint(want.Tags) != fmt.Sprint(all) {
			t.Errorf("body %q: got the tags %q, but encoding/json decodes %q (error %v); want the same", body, all, want.Tags, err)
		}
	})
}

// FuzzErrorBody checks that any error body becomes a few short lines of printable text.
func FuzzErrorBody(f *testing.F) {
	for _, body := range []string{
		`{"errors":[{"code":"DENIED","message":"no\nline","detail":{"reason":"quota"}}]}`, `{"errors":[{},{},{},{},{},{}]}`,
		`{"details":"a\u001b[31m"}`, `<html>`, `{"errors":{}}`, `{"errors":[{"code":1}]}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		codes := ParseCodes(body)
		if len(codes) > 5 {
			t.Errorf("got %d codes, want at most 5", len(codes))
		}
		for _, c := range codes {
			text := fmt.Sprintf("%v", c)
			if strings.IndexFunc(text, unicode.IsControl) >= 0 || len(text) > 700 {
				t.Errorf("error body %q: got %q, want one line of printable text of at most 700 bytes", body, text)
			}
		}
	})
}

// FuzzReceived checks that the number of received bytes in a Range header is never negative. It
// also checks that the number is right if the header has the form of the distribution
// specification ("Pushing a blob in chunks").
func FuzzReceived(f *testing.F) {
	f.Add("0-99", int64(99))
	f.Add("bytes=0-9223372036854775807", int64(5))
	f.Add("5-9", int64(1))
	f.Fuzz(func(t *testing.T, value string, last int64) {
		if n, ok := parseReceived(http.Header{"Range": {value}}); n < 0 || !ok && n != 0 {
			t.Errorf("parseReceived of the Range %q = %d, %v; want no negative number", value, n, ok)
		}
		if last <= 0 || last == 1<<63-1 {
			return
		}
		if n, ok := parseReceived(http.Header{"Range": {fmt.Sprintf("0-%d", last)}}); n != last+1 || !ok {
			t.Errorf("parseReceived of the Range 0-%d = %d, %v; want %d, true", last, n, ok, last+1)
		}
	})
}

// FuzzRetryAfter checks that no Retry-After header leads to a negative pause.
func FuzzRetryAfter(f *testing.F) {
	f.Add("120", "")
	f.Add("Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 31 Dec 1999 23:58:59 GMT")
	f.Add("-1", "x")
	f.Fuzz(func(t *testing.T, value, date string) {
		h := http.Header{"Retry-After": {value}, "Date": {date}}
		if d := retryAfter(h, time.Unix(0, 0)); d < 0 {
			t.Errorf("retryAfter with Retry-After %q and Date %q = %s, want no negative pause", value, date, d)
		}
	})
}

// FuzzTokenAnswer checks that every token expires, whatever lifetime its server reports.
func FuzzTokenAnswer(f *testing.F) {
	for _, body := range []string{`{"token":"a","expires_in":300}`, `{"access_token":"b","expires_in":"60.5"}`, `{"token":"a","expires_in":1e999}`, `{"expires_in":{}}`, `{"token":"a","expires_in":-1}`} {
		f.Add([]byte(body))
	}
	now := time.Unix(1_700_000_000, 0)
	f.Fuzz(func(t *testing.T, body []byte) {
		var a tokenAnswer
		if json.Unmarshal(body, &a) != nil {
			return
		}
		if until := a.expiry(now); until.Before(now) || until.After(now.Add(maxLife)) {
			t.Errorf("the token in the answer %q may be used until %s, want a time from %s to %s", body, until, now, now.Add(maxLife))
		}
	})
}
