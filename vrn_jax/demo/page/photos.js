// The ways a photo gets into the page: chosen, dropped, pasted, taken with the camera.
const $ = (id) => document.getElementById(id);

export function givePhotos(onPhoto, onProblem) {
  const choose = () => $("file").click();
  $("choose").addEventListener("click", choose);
  $("another").addEventListener("click", choose);
  $("file").addEventListener("change", () => {
    const [photo] = $("file").files;
    if (photo) onPhoto(photo);
    $("file").value = ""; // so that the same one can be chosen again
  });
  acceptDrops(onPhoto, onProblem);
  addEventListener("paste", (event) => {
    const photo = [...event.clipboardData.files].find(isPicture);
    if (photo) onPhoto(photo);
  });
  useCamera(onPhoto, onProblem);
}

function isPicture(file) {
  return file.type.startsWith("image/");
}

function acceptDrops(onPhoto, onProblem) {
  const zone = document.querySelector(".photo");
  addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) zone.classList.remove("over");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    const photo = [...event.dataTransfer.files].find(isPicture);
    if (photo) onPhoto(photo);
    else onProblem("That was not a picture.");
  });
}

function useCamera(onPhoto, onProblem) {
  const [booth, video] = [$("booth"), $("video")];
  if (!navigator.mediaDevices?.getUserMedia) {
    $("camera").hidden = true; // browsers give it to secure pages only: localhost, or https
    return;
  }
  $("camera").addEventListener("click", async () => {
    try {
      const wanted = { video: { facingMode: "user", width: { ideal: 1280 } } };
      video.srcObject = await navigator.mediaDevices.getUserMedia(wanted);
    } catch {
      onProblem("The camera cannot be used: there is none, or this page may not use it.");
      return;
    }
    booth.showModal();
    await video.play();
  });
  $("snap").addEventListener("click", () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob(onPhoto, "image/jpeg", 0.94);
    booth.close();
  });
  $("leave").addEventListener("click", () => booth.close());
  booth.addEventListener("close", () => {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  });
}
