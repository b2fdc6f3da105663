package layouttest

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Publish writes the layout at a path, with one image per tag.
func Publish(t TB, dir, path string, tags ...string) {
	t.Helper()
	l := New(t, dir).Layout(path)
	for _, tag := range tags {
		l.Tag(l.Image(Image{Name: tag, LayerSizes: []int64{2000}}), tag)
	}
	l.Write()
}

// Try ends the test if err is not nil.
func Try(t TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// WriteFile writes a file. It creates missing directories.
func WriteFile[T string | []byte](t TB, file string, content T) {
	t.Helper()
	Try(t, os.MkdirAll(filepath.Dir(file), 0o755))
	Try(t, os.WriteFile(file, []byte(content), 0o644))
}

// ReadFile returns the content of a file.
func ReadFile(t TB, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	Try(t, err)
	return content
}

// ReadFiles returns the contents of all files below a directory, by their relative paths.
func ReadFiles(t TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	Try(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = string(content)
		return err
	}))
	return files
}

// TarOf returns a tar archive of regular files. The arguments are NAME, CONTENT, NAME, CONTENT and
// so on. The format is ustar, because only its bytes are the same with every version of
// archive/tar.
func TarOf(t TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		Try(t, w.WriteHeader(&tar.Header{Name: files[i], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[i+1])), Format: tar.FormatUSTAR}))
		_, err := w.Write([]byte(files[i+1]))
		Try(t, err)
	}
	Try(t, w.Close())
	return b.Bytes()
}

// Eventually calls ok until ok returns true. After a minute without success, it fails the test.
func Eventually(t TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("this did not happen within a minute: %s", what)
		}
	}
}

// AwaitLaterTime waits until a new file would get a later modification time than file has.
func AwaitLaterTime(t testing.TB, file string) {
	t.Helper()
	modified := func(name string) time.Time {
		info, err := os.Stat(name)
		Try(t, err)
		return info.ModTime()
	}
	before, probe := modified(file), filepath.Join(t.TempDir(), "probe")
	for later := false; !later; later = modified(probe).After(before) {
		Try(t, os.WriteFile(probe, nil, 0o600))
	}
}
